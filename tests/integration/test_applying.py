"""Applying events in a worker process: one thread for all, and a locked wallet delays only its own events."""

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


def paid_payout_and_event(world: World) -> tuple[uuid.UUID, uuid.UUID]:
    """A payout that the provider has paid, and the event that reports it."""
    payout_id, payment_id = submitted_payout(world)
    [event_id] = store_webhooks(world, webhook_body(payment_id, "completed"))
    return payout_id, event_id


def test_locked_wallet_delays_only_its_own_events(world: World) -> None:
    """One of two wallets in a message is locked, as by a large batch's release.

    The other wallet's events are applied, as are those that arrive meanwhile; after the unlock, the rest.
    """
    other, context = World(world.engine), WorkerContext(world)
    slow, slow_event = paid_payout_and_event(world)
    fast, fast_event = paid_payout_and_event(other)
    later, later_event = paid_payout_and_event(other)
    with ExitStack() as stack:
        connection = stack.enter_context(world.engine.begin())
        ledger.lock_wallets(connection, [world.wallet_id])
        worker = threading.Thread(target=apply_provider_events, args=(context, [slow_event, fast_event]))
        worker.start()
        until(lambda: other.statuses([fast]) == ["completed"], "the payout of the unlocked wallet")
        apply_provider_events(context, [later_event])  # returns at once: the other thread applies it
        until(lambda: other.statuses([later]) == ["completed"], "the payout of the later event")
        assert worker.is_alive()
        assert world.statuses([slow]) == ["processing"]
    worker.join()
    assert world.statuses([slow]) == ["completed"]
    world.assert_ledger_consistent()


def test_event_that_waits_too_long_for_a_lock_stays_due(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.provider_events.RETRY_LOCKED_SECONDS", 0.0)
    payout_id, event_id = paid_payout_and_event(world)
    with world.engine.begin() as connection:
        ledger.lock_wallets(connection, [world.wallet_id])
        apply_provider_events(WorkerContext(world), [event_id])
    assert world.statuses([payout_id]) == ["processing"]
    assert world.rows("SELECT status, next_action_at IS NULL FROM provider_events WHERE id = :id", id=event_id) == [
        ("received", False)
    ]


def test_failure_affects_its_own_group_only(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread whose events failed applies another message's events."""
    context = WorkerContext(world)
    (_, wrong_event), (payout_id, right_event) = paid_payout_and_event(world), paid_payout_and_event(world)
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
