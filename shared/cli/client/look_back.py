"""Rows without a load, looked back for: has the same driver been paid the same for the same a few days ago?

A load is known for as long as its payout lives, and whole content for 48 hours by its key; a row without a load, in a
file in which anything has changed since, is known by nothing else.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from shared.cli.client.api import Api, Json
from shared.cli.client.csv_table import Problem
from shared.cli.client.release_time import here
from shared.cli.client.submission import Item

DAYS: Final = 7
PAYOUTS_MAX: Final = 10_000
NOT_PAID: Final = ("failed", "canceled", "returned")
"""Payouts whose money never left, or has come back: whoever was to get it may get it now."""

Sameness = tuple[str, int, str]


class Looked(NamedTuple):
    """What was found."""

    problems: list[Problem]
    """The rows that are paid already."""
    seen_all: bool
    """Whether all of those days were looked at: a wallet may have more payouts than are asked for."""


async def look_back(api: Api, items: Sequence[Item], now: datetime) -> Looked:
    """Compares rows without a load with the wallet's payouts, newest first, as far back as `DAYS`."""
    wanted: dict[Sameness, list[Item]] = {}
    for item in items:
        if not item.row.load_id:
            wanted.setdefault((item.driver.id, item.row.amount_cents, item.row.description or ""), []).append(item)
    problems: list[Problem] = []
    seen, since = 0, now - timedelta(days=DAYS)
    if not wanted:
        return Looked(problems, seen_all=True)
    async for payout in api.each("/payouts"):
        if not wanted or datetime.fromisoformat(payout["requestedAt"]) < since:
            break
        if seen == PAYOUTS_MAX:
            return Looked(problems, seen_all=False)
        seen += 1
        if payout["status"] not in NOT_PAID:
            same = wanted.pop((payout["driverId"], payout["amount"], payout["description"] or ""), [])
            problems += [_problem(item, payout) for item in same]
    return Looked(problems, seen_all=True)


def _problem(item: Item, payout: Json) -> Problem:
    what = "this amount with the same description" if item.row.description else "this amount, without a description,"
    message = f"{payout['id']}, requested {here(payout['requestedAt'])}, pays this driver {what} already"
    return Problem(item.row.line, "", f"{message}, and no load tells the two apart (DUPLICATE_PAYOUT)")
