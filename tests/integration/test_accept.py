"""Accepting payouts: what a customer is promised is in the database, to the cent, or he got a refusal."""

import threading
import uuid

import pytest

from shared.payouts.rows import PayoutRow
from shared.platform.errors import InsufficientFunds, InvalidRequest, NotFound, NotPayable
from shared.platform.ids import new_id
from shared.schema.payouts import Rail
from tests.support.world import World


def test_an_accepted_payout_has_its_reservation_history_and_event(world: World) -> None:
    """One payout of $450: the amount is in transit, the fee is known, the customer is told."""
    [row] = world.accept(world.order(world.driver(), 45_000))
    assert isinstance(row, PayoutRow)
    assert (row.status, row.fee_cents, row.net_cents) == ("validated", 250, 44_750)
    assert world.transfers(row.id) == [("reserve", 45_000)]
    assert world.history(row.id) == ["validated"]
    assert world.events(row.id) == ["payout.created"]
    assert world.balances()[:2] == (9_955_000, 45_000)
    world.assert_ledger_consistent()


def test_an_instant_payout_is_processing_with_its_submission_written(world: World) -> None:
    """The answer says processing, and truthfully so: the submission is committed with it."""
    [row] = world.accept(world.order(world.driver(), 45_000, Rail.INSTANT))
    assert isinstance(row, PayoutRow)
    assert (row.status, row.fee_cents, row.net_cents) == ("processing", 450, 44_550)
    assert world.history(row.id) == ["validated", "queued", "processing"]
    [(status, request)] = world.rows("SELECT status, request FROM submissions WHERE id = :id", id=row.submission_id)
    assert status == "prepared"
    assert isinstance(request, dict)
    assert (request["amount"], request["rail"]) == (44_550, "rtp")
    world.assert_ledger_consistent()


def test_funds_go_in_order_of_arrival_and_neighbours_succeed(world: World) -> None:
    """With $100 left: $60 is paid, $50 is refused with the figures, $40 is paid."""
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
def test_a_driver_who_cannot_be_paid_is_refused_with_the_reason(
    world: World, status: str, kyc_status: str, code: str
) -> None:
    """422 with a code of its own; nothing is reserved."""
    [refusal] = world.accept(world.order(world.driver(status, kyc_status)))
    assert isinstance(refusal, NotPayable)
    assert (refusal.status, refusal.code) == (422, code)
    assert world.balances().in_transit_cents == 0


def test_another_wallets_driver_is_unknown(world: World) -> None:
    """A driver of another organization is answered like one that does not exist."""
    stranger = World(world.engine).driver()
    other, nobody = world.accept(world.order(stranger), world.order(new_id()))
    assert isinstance(other, NotFound)
    assert isinstance(nobody, NotFound)
    assert other.code == nobody.code == "DRIVER_NOT_FOUND"


@pytest.mark.parametrize(
    ("rail", "amount_cents"),
    [(Rail.INSTANT, 1_000_001), (Rail.STANDARD, 100_000_001), (Rail.STANDARD, 250), (Rail.SAME_DAY, 500)],
)
def test_amounts_over_the_rails_limit_or_not_above_the_fee_are_invalid(
    world: World, rail: Rail, amount_cents: int
) -> None:
    """400, naming the field."""
    [refusal] = world.accept(world.order(world.driver(), amount_cents, rail))
    assert isinstance(refusal, InvalidRequest)
    assert refusal.details["field"] == "amount"


def test_accepting_at_the_same_time_never_overspends(world: World) -> None:
    """Given $1,000, when eight threads ask for forty payouts of $50, then exactly twenty are accepted."""
    driver_id = world.driver()
    world.leave_available(100_000)
    accepted: list[uuid.UUID] = []

    def ask() -> None:
        for _ in range(5):
            [row] = world.accept(world.order(driver_id, 5_000))
            if isinstance(row, PayoutRow):
                accepted.append(row.id)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(accepted) == 20
    assert world.balances().available_cents == 0
    world.assert_ledger_consistent()
