"""Applying in a worker process: one thread for all, and a wallet that somebody holds keeps only its own."""

import threading
import uuid
from contextlib import ExitStack

import pytest
import sqlalchemy as sa

from shared import inbox, ledger
from tests.support.polling import until
from tests.support.provider_steps import WorkerContext, store_webhooks, submitted_payout, webhook_body
from tests.support.world import World
from workers.provider_events import apply_provider_events


def told(world: World) -> tuple[uuid.UUID, uuid.UUID]:
    """A payout that the provider has paid, and the notice that says so."""
    payout_id, payment_id = submitted_payout(world)
    [event_id] = store_webhooks(world, webhook_body(payment_id, "completed"))
    return payout_id, event_id


def test_a_wallet_that_is_held_keeps_only_its_own(world: World) -> None:
    """Given two wallets' notices in one message, and one of the wallets held, as a large batch's release holds it: the
    other's are applied, and who is told of more meanwhile leaves word. Once it is free, all that waited is applied.
    """
    other, context = World(world.engine), WorkerContext(world)
    (slow, slow_event), (fast, fast_event), (later, later_event) = told(world), told(other), told(other)
    with ExitStack() as held:
        connection = held.enter_context(world.engine.begin())
        ledger.lock_wallets(connection, [world.wallet_id])
        worker = threading.Thread(target=apply_provider_events, args=(context, [slow_event, fast_event]))
        worker.start()
        until(lambda: other.statuses([fast]) == ["completed"], "the free wallet's payout")
        apply_provider_events(context, [later_event])  # returns at once: the other thread is at it
        until(lambda: other.statuses([later]) == ["completed"], "the one told of meanwhile")
        assert worker.is_alive()
        assert world.statuses([slow]) == ["processing"]
    worker.join()
    assert world.statuses([slow]) == ["completed"]
    world.assert_ledger_consistent()


def test_what_waits_too_long_for_a_lock_is_left_to_the_tick(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread is free again; the rows are due."""
    monkeypatch.setattr("workers.provider_events.RETRY_LOCKED_SECONDS", 0.0)
    payout_id, event_id = told(world)
    with world.engine.begin() as connection:
        ledger.lock_wallets(connection, [world.wallet_id])
        apply_provider_events(WorkerContext(world), [event_id])
    assert world.statuses([payout_id]) == ["processing"]
    assert world.rows("SELECT status, next_action_at IS NULL FROM provider_events WHERE id = :id", id=event_id) == [
        ("received", False)
    ]


def test_a_failure_is_the_groups_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second message's notices are applied by the thread whose own have failed."""
    context = WorkerContext(world)
    (_, wrong_event), (payout_id, right_event) = told(world), told(world)
    apply = inbox.apply_events

    def failing(connection: sa.Connection, event_ids: list[uuid.UUID], *rest: object, **options: object) -> object:
        if wrong_event in event_ids:
            apply_provider_events(context, [right_event])  # comes meanwhile
            raise ValueError("wrong")
        return apply(connection, event_ids, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(inbox, "apply_events", failing)
    with pytest.raises(ValueError, match="wrong"):
        apply_provider_events(context, [wrong_event])
    assert world.statuses([payout_id]) == ["completed"]
