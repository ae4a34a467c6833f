"""Payment rails: the amount limit, the provider's name and the estimated arrival of each.

Business days are Monday to Friday in UTC; bank holidays add to the estimate.
"""

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from shared.schema.payouts import Rail

RAIL_LIMIT_CENTS: Final = {Rail.STANDARD: 100_000_000, Rail.SAME_DAY: 100_000_000, Rail.INSTANT: 1_000_000}
"""The provider's maximum amount of one payment."""

PROVIDER_RAILS: Final = {Rail.STANDARD: "standard", Rail.SAME_DAY: "same_day_ach", Rail.INSTANT: "rtp"}

RETURN_WINDOW_BUSINESS_DAYS: Final = 5
"""The usual window in which a bank returns an ACH payment."""


class Arrival(NamedTuple):
    """When the driver has the money."""

    speed: str
    by: datetime


def estimate_arrival(rail: Rail, sent_at: datetime) -> Arrival:
    """Estimate the arrival of a payout that the provider accepted at `sent_at`."""
    if rail is Rail.INSTANT:
        return Arrival("about 30 seconds", sent_at + timedelta(seconds=30))
    if rail is Rail.SAME_DAY:
        opened = add_business_days(sent_at, 0)
        return Arrival("the same business day", opened.replace(hour=23, minute=59, second=59, microsecond=0))
    return Arrival("2-4 business days", add_business_days(sent_at, 4))


def add_business_days(moment: datetime, days: int) -> datetime:
    """Add business days; a moment on a weekend moves to Monday first."""
    while moment.weekday() > 4:
        moment += timedelta(days=1)
    for _ in range(days):
        moment += timedelta(days=3 if moment.weekday() == 4 else 1)
    return moment
