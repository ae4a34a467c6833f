"""Finds rows without a load that repeat a payment of the last days, by driver, amount and description."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from shared.cli.client.api import ApiClient, Json
from shared.cli.client.batch_drafts import PayableRow
from shared.cli.client.csv_table import FileProblem
from shared.cli.client.formatting import format_local_time

RECENT_DAYS: Final = 7
PAYOUTS_MAX: Final = 10_000
UNPAID_STATUSES: Final = ("failed", "canceled", "returned")
"""Statuses whose money never left or came back, so the same payment is not a duplicate."""

PaymentFacts = tuple[str, int, str]
"""Driver id, amount in cents, description."""


class RecentDuplicates(NamedTuple):
    """Result of the comparison."""

    problems: list[FileProblem]
    """Rows that are already paid."""
    is_complete: bool
    """False if the wallet has more than PAYOUTS_MAX payouts in the period; older ones were not compared."""


async def find_recent_duplicates(api: ApiClient, rows: Sequence[PayableRow], now: datetime) -> RecentDuplicates:
    """Compare rows without a load with the payouts of the last RECENT_DAYS days."""
    wanted: dict[PaymentFacts, list[PayableRow]] = {}
    for payable in rows:
        row = payable.row
        if not row.load_id:
            wanted.setdefault((payable.driver.id, row.amount_cents, row.description or ""), []).append(payable)
    problems: list[FileProblem] = []
    compared, since = 0, now - timedelta(days=RECENT_DAYS)
    if not wanted:
        return RecentDuplicates(problems, is_complete=True)
    async for payout in api.iterate_items("/payouts"):
        if not wanted or datetime.fromisoformat(payout["requestedAt"]) < since:
            break
        if compared == PAYOUTS_MAX:
            return RecentDuplicates(problems, is_complete=False)
        compared += 1
        if payout["status"] not in UNPAID_STATUSES:
            facts = (payout["driverId"], payout["amount"], payout["description"] or "")
            problems += [_duplicate_problem(payable, payout) for payable in wanted.pop(facts, [])]
    return RecentDuplicates(problems, is_complete=True)


def _duplicate_problem(payable: PayableRow, payout: Json) -> FileProblem:
    same = "the same amount and description" if payable.row.description else "the same amount without a description"
    requested_at = format_local_time(payout["requestedAt"])
    message = f"{payout['id']}, requested {requested_at}, already pays this driver {same}, and the row has no load"
    return FileProblem(payable.row.line, "", f"{message} (DUPLICATE_PAYOUT)")
