"""A row without a load is not paid twice because something else in its file has changed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.cli.client import batch_drafts, csv_table, settlement_file
from shared.cli.client import recent_duplicates as look_back_module
from shared.cli.client.drivers import ApiDriver, DriverIndex
from shared.cli.client.recent_duplicates import RecentDuplicates, find_recent_duplicates

ROSTER = DriverIndex([ApiDriver(f"drv_{n}", f"OVN-{n}", f"Driver {n}", "active", "verified") for n in range(1, 4)])
CONTENT = "driver,amount,loadId,description\nOVN-1,1.00,,Bonus\nOVN-2,2.50,,\nOVN-3,3.00,L-1,Bonus\n"
NOW = datetime(2026, 11, 27, 23, tzinfo=UTC)


def payout(driver: str, amount: int, description: str | None, *, days: float = 1, status: str = "completed") -> Any:
    """One of the wallet's."""
    requested_at = (NOW - timedelta(days=days)).isoformat()
    facts = {"driverId": driver, "amount": amount, "description": description, "loadId": None}
    return {"id": f"pay_{driver}", "status": status, "requestedAt": requested_at, **facts}


class Wallet:
    """An API of which only the wallet's payouts are known, newest first."""

    def __init__(self, *payouts: Any) -> None:
        self.payouts = payouts
        self.told = 0

    async def each(self, path: str) -> AsyncIterator[Any]:
        assert path == "/payouts"
        for one in self.payouts:
            self.told += 1
            yield one


def looked(*payouts: Any, content: str = CONTENT) -> tuple[RecentDuplicates, int]:
    """What looking back finds, and how many payouts it had to see for it."""
    wallet: Any = Wallet(*payouts)
    parts = batch_drafts.draft_batches(
        settlement_file.parse_settlement(csv_table.parse_csv(content.encode()), None).rows, ROSTER
    )
    return asyncio.run(find_recent_duplicates(wallet, parts[0].items, NOW)), wallet.told


def lines(*payouts: Any) -> list[int | None]:
    """The rows that are paid already."""
    return [problem.line for problem in looked(*payouts)[0].problems]


def test_a_row_is_known_by_driver_amount_and_description() -> None:
    assert lines(payout("drv_1", 100, "Bonus"), payout("drv_2", 250, None, status="validated")) == [2, 3]
    (found,) = looked(payout("drv_1", 100, "Bonus"))[0].problems
    assert found.message.startswith("pay_drv_1, requested ")
    assert "pays this driver this amount with the same description already" in found.message


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
def test_what_differs_is_old_or_was_not_paid_is_another_payment(other: Any) -> None:
    """And rows with a load are known by that."""
    assert lines(other) == []


def test_it_asks_for_no_more_than_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    old, other = payout("drv_1", 1, "x", days=8), payout("drv_3", 1, "x")
    assert looked(other, old, old, old) == (RecentDuplicates([], seen_all=True), 2)
    assert looked(other, content="driver,amount,loadId\nOVN-1,1.00,L-1\n") == (RecentDuplicates([], seen_all=True), 0)
    monkeypatch.setattr(look_back_module, "PAYOUTS_MAX", 2)
    assert looked(other, other, other, other) == (RecentDuplicates([], seen_all=False), 3)
