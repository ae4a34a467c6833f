"""The projection: scheduled batches by day, what is in transit or may come in, and the day on which it won't reach."""

import uuid
from datetime import UTC, date, datetime, timedelta

from shared.funding import topups
from shared.funding.projection import FundingProjection, PendingTotal, Shortfall, project_funding
from shared.payouts.cancel import cancel_wallet_payouts
from shared.schema.payouts import PayoutStatus, Rail
from tests.support.world import GRACE, World

FRIDAY = datetime(2026, 2, 6, 12, tzinfo=UTC)


def projected(world: World, days: int = 10) -> FundingProjection:
    """The wallet's projection now."""
    with world.engine.connect() as connection:
        return project_funding(connection, world.wallet_id, world.clock.now(), days)


def top_up(world: World, amount_cents: int, method: str) -> uuid.UUID:
    """A top-up that is pending."""
    with world.engine.begin() as connection:
        return topups.request_topup(
            connection, world.wallet_id, amount_cents, method, "Funding", world.clock.now(), grace=GRACE
        ).id


def days_with(found: FundingProjection, name: str) -> dict[date, int]:
    """The days on which a figure is not nothing."""
    return {day.date: getattr(day, name) for day in found.days if getattr(day, name)}


def test_a_shortfall_is_the_first_day_that_is_not_covered_and_counts_on_no_top_up(world: World) -> None:
    """The top-up is there in time, perhaps: it is shown, and not counted on."""
    world.clock.moment = FRIDAY
    world.leave_available(100_000)
    world.batch(60_000, scheduled_for=FRIDAY + timedelta(days=1))
    world.batch(50_000, scheduled_for=FRIDAY + timedelta(days=4))
    world.batch(70_000, scheduled_for=FRIDAY + timedelta(days=5))
    top_up(world, 500_000, "bank_transfer")
    top_up(world, 1_000, "rtp")
    stuck = top_up(world, 9_000, "bank_transfer")
    world.execute("UPDATE topups SET next_action_at = NULL WHERE id = :id", id=stuck)
    found = projected(world)
    assert (found.available_cents, found.outflow_cents) == (100_000, 180_000)
    assert found.shortfall == Shortfall(date(2026, 2, 10), 10_000)
    # Friday's bank transfer takes three business days: Wednesday; one that a person has to look at has no day
    assert days_with(found, "topups_cents") == {date(2026, 2, 6): 1_000, date(2026, 2, 11): 500_000}
    assert found.pending_topups == PendingTotal(3, 510_000)
    # A top-up that is late is expected today
    world.clock.advance(days=7)
    assert days_with(projected(world), "topups_cents") == {date(2026, 2, 13): 501_000}


def test_open_payouts_are_in_transit_and_cost_nothing_more(world: World) -> None:
    """They left `available` before; they arrive by their rail, if nothing holds them."""
    world.clock.moment = FRIDAY
    world.queued(2)
    world.accepted(1, Rail.INSTANT)
    [held] = world.queued(1)
    world.execute("UPDATE payouts SET held_reason = 'x' WHERE id = :id", id=held)
    ended = world.queued(1)
    world.end(ended, PayoutStatus.COMPLETED)
    found = projected(world)
    assert (found.outflow_cents, found.shortfall) == (0, None)
    assert found.open_payouts == PendingTotal(4, 180_000)
    assert found.open_payouts.amount_cents == world.balances().in_transit_cents
    assert days_with(found, "settling_cents") == {date(2026, 2, 6): 45_000, date(2026, 2, 12): 90_000}


def test_batches_that_wait_for_somebody_are_shown_apart(world: World) -> None:
    """Without a time, or refused for lack of money: on no day. What is canceled meanwhile does not count."""
    _, payout_ids = world.batch(45_000, 50_000)
    refused, _ = world.batch(30_000)
    world.batch(10_000, scheduled_for=world.clock.now() + timedelta(days=1))
    world.leave_available(20_000)
    world.release(refused.id)
    assert world.batch_status(refused.id) == "failed"
    with world.engine.begin() as connection:
        cancel_wallet_payouts(connection, world.wallet_id, payout_ids[:1], world.clock.now())
    found = projected(world)
    assert found.unscheduled == PendingTotal(2, 80_000)
    assert found.outflow_cents == 10_000
    with world.engine.begin() as connection:
        cancel_wallet_payouts(connection, world.wallet_id, payout_ids[1:], world.clock.now())
    assert projected(world).unscheduled == PendingTotal(1, 30_000)
