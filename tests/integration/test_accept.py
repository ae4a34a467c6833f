"""Acceptance: an accepted payout is in the database, to the cent; anything else is an error."""

import threading
import uuid

import pytest

from shared.payouts.rows import PayoutRow
from shared.platform.errors import InsufficientFunds, InvalidRequest, NotFound, NotPayable
from shared.platform.ids import new_id
from shared.schema.payouts import Rail
from tests.support.world import World


def test_accepted_payout_has_reservation_history_and_event(world: World) -> None:
    [row] = world.accept(world.order(world.driver(), 45_000))
    assert isinstance(row, PayoutRow)
    assert (row.status, row.fee_cents, row.net_cents) == ("validated", 250, 44_750)
    assert world.transfers(row.id) == [("reserve", 45_000)]
    assert world.history(row.id) == ["validated"]
    assert world.events(row.id) == ["payout.created"]
    assert world.balances()[:2] == (9_955_000, 45_000)
    world.assert_ledger_consistent()


def test_instant_payout_is_processing_with_its_submission(world: World) -> None:
    """The submission is committed with the response."""
    [row] = world.accept(world.order(world.driver(), 45_000, Rail.INSTANT))
    assert isinstance(row, PayoutRow)
    assert (row.status, row.fee_cents, row.net_cents) == ("processing", 450, 44_550)
    assert world.history(row.id) == ["validated", "queued", "processing"]
    [(status, request)] = world.rows("SELECT status, request FROM submissions WHERE id = :id", id=row.submission_id)
    assert status == "prepared"
    assert isinstance(request, dict)
    assert (request["amount"], request["rail"]) == (44_550, "rtp")
    world.assert_ledger_consistent()


def test_order_beyond_the_balance_is_refused_alone(world: World) -> None:
    """With $100 available: $60 is accepted, $50 refused, $40 accepted."""
    driver_id = world.driver()
    world.leave_available(10_000)
    first, second, third = world.accept(*(world.order(driver_id, cents) for cents in (6_000, 5_000, 4_000)))
    assert isinstance(first, PayoutRow)
    assert isinstance(third, PayoutRow)
    assert isinstance(second, InsufficientFunds)
    assert (second.status, second.code) == (400, "INSUFFICIENT_FUNDS")
    assert second.details == {"available": 4_000, "required": 5_000}
    assert world.balances().available_cents == 0
    world.assert_ledger_consistent()


@pytest.mark.parametrize(
    ("status", "kyc_status", "code"),
    [
        ("invited", "pending", "KYC_PENDING"),
        ("pending", "pending", "KYC_PENDING"),
        ("pending", "rejected", "KYC_REJECTED"),
        ("inactive", "verified", "DRIVER_INACTIVE"),
    ],
)
def test_unpayable_driver_is_refused_with_reason(world: World, status: str, kyc_status: str, code: str) -> None:
    """422 with its own code; nothing is reserved."""
    [refusal] = world.accept(world.order(world.driver(status, kyc_status)))
    assert isinstance(refusal, NotPayable)
    assert (refusal.status, refusal.code) == (422, code)
    assert world.balances().in_transit_cents == 0


def test_driver_of_another_wallet_is_not_found(world: World) -> None:
    other_driver = World(world.engine).driver()
    other, missing = world.accept(world.order(other_driver), world.order(new_id()))
    assert isinstance(other, NotFound)
    assert isinstance(missing, NotFound)
    assert other.code == missing.code == "DRIVER_NOT_FOUND"


@pytest.mark.parametrize(
    ("rail", "amount_cents"),
    [(Rail.INSTANT, 1_000_001), (Rail.STANDARD, 100_000_001), (Rail.STANDARD, 250), (Rail.SAME_DAY, 500)],
)
def test_amount_above_limit_or_not_above_fee_is_invalid(world: World, rail: Rail, amount_cents: int) -> None:
    [refusal] = world.accept(world.order(world.driver(), amount_cents, rail))
    assert isinstance(refusal, InvalidRequest)
    assert refusal.details["field"] == "amount"


def test_concurrent_acceptance_never_overspends(world: World) -> None:
    """$1,000 covers twenty of forty payouts of $50 from eight threads."""
    driver_id = world.driver()
    world.leave_available(100_000)
    accepted: list[uuid.UUID] = []

    def accept_five() -> None:
        for _ in range(5):
            [row] = world.accept(world.order(driver_id, 5_000))
            if isinstance(row, PayoutRow):
                accepted.append(row.id)

    threads = [threading.Thread(target=accept_five) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(accepted) == 20
    assert world.balances().available_cents == 0
    world.assert_ledger_consistent()
