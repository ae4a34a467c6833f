"""A row without a load is not paid twice when other parts of its file change."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.cli.client import batch_drafts, csv_table, settlement_file
from shared.cli.client import recent_duplicates as recent_duplicates
from shared.cli.client.drivers import ApiDriver, DriverIndex
from shared.cli.client.recent_duplicates import RecentDuplicates, find_recent_duplicates

ROSTER = DriverIndex([ApiDriver(f"drv_{n}", f"OVN-{n}", f"Driver {n}", "active", "verified") for n in range(1, 4)])
CONTENT = "driver,amount,loadId,description\nOVN-1,1.00,,Bonus\nOVN-2,2.50,,\nOVN-3,3.00,L-1,Bonus\n"
NOW = datetime(2026, 11, 27, 23, tzinfo=UTC)


def payout(driver: str, amount: int, description: str | None, *, days: float = 1, status: str = "completed") -> Any:
    """Return a payout of the wallet."""
    requested_at = (NOW - timedelta(days=days)).isoformat()
    facts = {"driverId": driver, "amount": amount, "description": description, "loadId": None}
    return {"id": f"pay_{driver}", "status": status, "requestedAt": requested_at, **facts}


class FakeApi:
    """An API with these payouts, newest first; it counts how many are read."""

    def __init__(self, *payouts: Any) -> None:
        self.payouts = payouts
        self.read_count = 0

    async def iterate_items(self, path: str) -> AsyncIterator[Any]:
        assert path == "/payouts"
        for one in self.payouts:
            self.read_count += 1
            yield one


def compare(*payouts: Any, content: str = CONTENT) -> tuple[RecentDuplicates, int]:
    """Compare CONTENT with these payouts; return the result and how many were read."""
    api: Any = FakeApi(*payouts)
    drafts = batch_drafts.draft_batches(
        settlement_file.parse_settlement(csv_table.parse_csv(content.encode()), None).rows, ROSTER
    )
    return asyncio.run(find_recent_duplicates(api, drafts[0].rows, NOW)), api.read_count


def lines(*payouts: Any) -> list[int | None]:
    """Return the lines of the duplicate rows."""
    return [problem.line for problem in compare(*payouts)[0].problems]


def test_row_is_compared_by_driver_amount_and_description() -> None:
    assert lines(payout("drv_1", 100, "Bonus"), payout("drv_2", 250, None, status="validated")) == [2, 3]
    (found,) = compare(payout("drv_1", 100, "Bonus"))[0].problems
    assert found.message.startswith("pay_drv_1, requested ")
    assert "already pays this driver the same amount and description" in found.message


@pytest.mark.parametrize(
    "other",
    [
        payout("drv_3", 100, "Bonus"),
        payout("drv_1", 101, "Bonus"),
        payout("drv_1", 100, "bonus"),
        payout("drv_1", 100, None),
        payout("drv_1", 100, "Bonus", days=7.1),
        payout("drv_1", 100, "Bonus", status="failed"),
        payout("drv_1", 100, "Bonus", status="canceled"),
        payout("drv_1", 100, "Bonus", status="returned"),
        payout("drv_3", 300, "Bonus"),
    ],
)
def test_payout_that_differs_is_old_or_unpaid_is_no_duplicate(other: Any) -> None:
    """Rows with a load are not compared."""
    assert lines(other) == []


def test_only_the_needed_payouts_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    old, other = payout("drv_1", 1, "x", days=8), payout("drv_3", 1, "x")
    assert compare(other, old, old, old) == (RecentDuplicates([], is_complete=True), 2)
    assert compare(other, content="driver,amount,loadId\nOVN-1,1.00,L-1\n") == (
        RecentDuplicates([], is_complete=True),
        0,
    )
    monkeypatch.setattr(recent_duplicates, "PAYOUTS_MAX", 2)
    assert compare(other, other, other, other) == (RecentDuplicates([], is_complete=False), 3)
