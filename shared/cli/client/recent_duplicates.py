"""Rows without a load, looked back for: has the same driver been paid the same for the same a few days ago?

A load is known for as long as its payout lives, and whole content for 48 hours by its key; a row without a load, in a
file in which anything has changed since, is known by nothing else.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from shared.cli.client.api import ApiClient, Json
from shared.cli.client.batch_drafts import PayableRow
from shared.cli.client.csv_table import FileProblem
from shared.cli.client.release_time import format_local_time

RECENT_DAYS: Final = 7
PAYOUTS_MAX: Final = 10_000
NOT_PAID: Final = ("failed", "canceled", "returned")
"""Payouts whose money never left, or has come back: whoever was to get it may get it now."""

PaymentFacts = tuple[str, int, str]


class RecentDuplicates(NamedTuple):
    """What was found."""

    problems: list[FileProblem]
    """The rows that are paid already."""
    seen_all: bool
    """Whether all of those days were looked at: a wallet may have more payouts than are asked for."""


async def find_recent_duplicates(api: ApiClient, items: Sequence[PayableRow], now: datetime) -> RecentDuplicates:
    """Compares rows without a load with the wallet's payouts, newest first, as far back as `RECENT_DAYS`."""
    wanted: dict[PaymentFacts, list[PayableRow]] = {}
    for item in items:
        if not item.row.load_id:
            wanted.setdefault((item.driver.id, item.row.amount_cents, item.row.description or ""), []).append(item)
    problems: list[FileProblem] = []
    seen, since = 0, now - timedelta(days=RECENT_DAYS)
    if not wanted:
        return RecentDuplicates(problems, seen_all=True)
    async for payout in api.each("/payouts"):
        if not wanted or datetime.fromisoformat(payout["requestedAt"]) < since:
            break
        if seen == PAYOUTS_MAX:
            return RecentDuplicates(problems, seen_all=False)
        seen += 1
        if payout["status"] not in NOT_PAID:
            same = wanted.pop((payout["driverId"], payout["amount"], payout["description"] or ""), [])
            problems += [_problem(item, payout) for item in same]
    return RecentDuplicates(problems, seen_all=True)


def _problem(item: PayableRow, payout: Json) -> FileProblem:
    what = "this amount with the same description" if item.row.description else "this amount, without a description,"
    message = f"{payout['id']}, requested {format_local_time(payout['requestedAt'])}, pays this driver {what} already"
    return FileProblem(item.row.line, "", f"{message}, and no load tells the two apart (DUPLICATE_PAYOUT)")
