"""The funding projection: scheduled batches, money in transit and top-ups by day, and the first shortfall."""

import uuid
from datetime import UTC, date, datetime, timedelta

from shared.funding import topups
from shared.funding.projection import FundingProjection, PendingTotal, Shortfall, project_funding
from shared.payouts.cancel import cancel_wallet_payouts
from shared.schema.payouts import PayoutStatus, Rail
from tests.support.world import GRACE, World

FRIDAY = datetime(2026, 2, 6, 12, tzinfo=UTC)


def project(world: World, days: int = 10) -> FundingProjection:
    """Project the wallet."""
    with world.engine.connect() as connection:
        return project_funding(connection, world.wallet_id, world.clock.now(), days)


def top_up(world: World, amount_cents: int, method: str) -> uuid.UUID:
    """Request a top-up; return its id."""
    with world.engine.begin() as connection:
        return topups.request_topup(
            connection, world.wallet_id, amount_cents, method, "Funding", world.clock.now(), grace=GRACE
        ).id


def days_with(found: FundingProjection, name: str) -> dict[date, int]:
    """Return the days on which the field is not 0."""
    return {day.date: getattr(day, name) for day in found.days if getattr(day, name)}


def test_a_shortfall_ignores_pending_top_ups(world: World) -> None:
    """It is on the first day that the balance does not cover; the top-up is shown on the day that it may arrive."""
    world.clock.moment = FRIDAY
    world.leave_available(100_000)
    world.batch(60_000, scheduled_for=FRIDAY + timedelta(days=1))
    world.batch(50_000, scheduled_for=FRIDAY + timedelta(days=4))
    world.batch(70_000, scheduled_for=FRIDAY + timedelta(days=5))
    top_up(world, 500_000, "bank_transfer")
    top_up(world, 1_000, "rtp")
    stuck = top_up(world, 9_000, "bank_transfer")
    world.execute("UPDATE topups SET next_action_at = NULL WHERE id = :id", id=stuck)
    found = project(world)
    assert (found.available_cents, found.outflow_cents) == (100_000, 180_000)
    assert found.shortfall == Shortfall(date(2026, 2, 10), 10_000)
    # Friday's bank transfer takes three business days, until Wednesday; one that needs an operator has no day
    assert days_with(found, "topups_cents") == {date(2026, 2, 6): 1_000, date(2026, 2, 11): 500_000}
    assert found.pending_topups == PendingTotal(3, 510_000)
    # An overdue top-up is expected today
    world.clock.advance(days=7)
    assert days_with(project(world), "topups_cents") == {date(2026, 2, 13): 501_000}


def test_open_payouts_settle_by_their_rail_and_reserve_nothing_more(world: World) -> None:
    """A payout on hold has no day of arrival."""
    world.clock.moment = FRIDAY
    world.queued(2)
    world.accepted(1, Rail.INSTANT)
    [on_hold] = world.queued(1)
    world.execute("UPDATE payouts SET held_reason = 'x' WHERE id = :id", id=on_hold)
    ended = world.queued(1)
    world.end(ended, PayoutStatus.COMPLETED)
    found = project(world)
    assert (found.outflow_cents, found.shortfall) == (0, None)
    assert found.open_payouts == PendingTotal(4, 180_000)
    assert found.open_payouts.amount_cents == world.balances().in_transit_cents
    assert days_with(found, "settling_cents") == {date(2026, 2, 6): 45_000, date(2026, 2, 12): 90_000}


def test_batches_that_wait_for_a_manual_release_are_unscheduled(world: World) -> None:
    """Those without a time, and those that failed for lack of money; canceled payouts don't count."""
    _, payout_ids = world.batch(45_000, 50_000)
    uncovered, _ = world.batch(30_000)
    world.batch(10_000, scheduled_for=world.clock.now() + timedelta(days=1))
    world.leave_available(20_000)
    world.release(uncovered.id)
    assert world.batch_status(uncovered.id) == "failed"
    with world.engine.begin() as connection:
        cancel_wallet_payouts(connection, world.wallet_id, payout_ids[:1], world.clock.now())
    found = project(world)
    assert found.unscheduled == PendingTotal(2, 80_000)
    assert found.outflow_cents == 10_000
    with world.engine.begin() as connection:
        cancel_wallet_payouts(connection, world.wallet_id, payout_ids[1:], world.clock.now())
    assert project(world).unscheduled == PendingTotal(1, 30_000)
