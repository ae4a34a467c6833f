"""Arrival: when a driver may expect his money by, on each rail.

Business days are Monday to Friday, in UTC; bank holidays come on top.
"""

from datetime import datetime, timedelta
from typing import NamedTuple

from shared.schema.payouts import Rail

RETURN_WINDOW_BUSINESS_DAYS = 5
"""How long after it was paid by ACH a payout is most likely to come back, if it does."""


class Arrival(NamedTuple):
    """When the driver has the money, as the rail has it."""

    speed: str
    by: datetime


def estimate_arrival(rail: Rail, sent_at: datetime) -> Arrival:
    """When a payout that Paystream took then will have arrived."""
    if rail is Rail.INSTANT:
        return Arrival("about 30 seconds", sent_at + timedelta(seconds=30))
    if rail is Rail.SAME_DAY:
        opened = add_business_days(sent_at, 0)
        return Arrival("the same business day", opened.replace(hour=23, minute=59, second=59, microsecond=0))
    return Arrival("2-4 business days", add_business_days(sent_at, 4))


def add_business_days(moment: datetime, days: int) -> datetime:
    """The time so many business days later; none later is that day, or the next business day."""
    while moment.weekday() > 4:
        moment += timedelta(days=1)
    for _ in range(days):
        moment += timedelta(days=3 if moment.weekday() == 4 else 1)
    return moment
