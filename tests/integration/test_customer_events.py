"""Customer events: deliveries to subscribed endpoints, the event list, and `balance.low`."""

import uuid

import pytest
import sqlalchemy as sa

from shared import ledger
from shared.events import deliveries, endpoints
from shared.events.customer_events import Event, EventType, write_events
from shared.events.queries import EventSlice, load_endpoint, load_events
from shared.ledger import NewTransfer
from shared.onboarding.organizations import set_wallet_policy
from shared.schema.events import EndpointStatus
from shared.schema.ledger import TransferKind
from shared.schema.organizations import Mode
from shared.schema.payouts import PayoutStatus
from tests.support.polling import until
from tests.support.webhooks import add_endpoint, add_events, claim
from tests.support.world import World


def test_event_gets_a_delivery_to_every_subscribed_endpoint(world: World, engine: sa.Engine) -> None:
    # Given endpoints for different events, one disabled, one deleted, and one of another wallet
    paid = add_endpoint(world, events=["payout.succeeded"])
    every = add_endpoint(world)
    disabled, deleted, other = add_endpoint(world), add_endpoint(world), add_endpoint(World(engine))
    with engine.begin() as connection:
        status = EndpointStatus.DISABLED
        now = world.clock.now()
        endpoints.update_endpoint(connection, world.wallet_id, disabled, now, url=None, events=None, status=status)
        endpoints.delete_endpoint(connection, world.wallet_id, deleted, now)
    # When a payout is created and paid
    [payout_id] = world.queued()
    world.end([payout_id], PayoutStatus.COMPLETED)
    # Then each has the events it subscribed to
    found = world.rows(
        """
        SELECT endpoint_id, type FROM webhook_deliveries JOIN customer_events ON id = event_id
        WHERE customer_events.payout_id = :id ORDER BY event_id
        """,
        id=payout_id,
    )
    assert sorted(found, key=str) == sorted(
        [(paid, "payout.succeeded"), (every, "payout.created"), (every, "payout.succeeded")], key=str
    )
    assert not claim(world, disabled, deleted, other)


def test_rolled_back_event_has_no_delivery(world: World) -> None:
    hook = add_endpoint(world)
    with pytest.raises(RuntimeError), world.engine.begin() as connection:  # noqa: PT012
        deliveries.send_test_event(
            connection, world.wallet_id, load_endpoint(connection, world.wallet_id, hook), world.clock.now()
        )
        raise RuntimeError
    assert not claim(world, hook)


def test_balance_low_is_sent_once_for_each_fall_below_the_threshold(world: World) -> None:
    def lows() -> list[tuple[object, ...]]:
        return world.rows(
            "SELECT data FROM customer_events WHERE wallet_id = :id AND type = 'balance.low' ORDER BY id",
            id=world.wallet_id,
        )

    def top_up(cents: int) -> None:
        kinds = TransferKind.TOPUP, TransferKind.TOPUP_SETTLE
        with world.engine.begin() as connection:
            ledger.post_transfers(
                connection, [NewTransfer(world.wallet_id, kind, cents) for kind in kinds], world.clock.now()
            )

    # Given a wallet with 100,000.00, first without a threshold, then with one
    world.accept(world.order(world.driver(), 100_000))
    [(name,)] = world.rows("SELECT name FROM organizations WHERE id = :id", id=world.organization_id)
    with world.engine.begin() as connection:
        world_name = f"Low {world.organization_id}"
        connection.execute(
            sa.text("UPDATE organizations SET name = :name WHERE id = :id"),
            {"name": world_name, "id": world.organization_id},
        )
        now = world.clock.now()
        policy = set_wallet_policy(connection, world_name, Mode.SANDBOX, None, now, low_balance_cents=9_000_000)
    assert name == "Carrier"
    assert policy is not None
    assert policy.low_balance_cents == 9_000_000
    # When it falls below, further, is topped up to below it, then above it, and falls again
    steps = [-900_000, -1_000, -2_000, -100_000, 50_000, 1_000_000, -1_000_000]
    counts = []
    for cents in steps:
        if cents < 0:
            world.accept(world.order(world.driver(), -cents))
        else:
            top_up(cents)
        counts.append(len(lows()))
    # Then an event is sent at 8,999,000 (9,000,000 itself is not low), and once more at the end
    assert counts == [0, 1, 1, 1, 1, 1, 2]
    assert lows()[0] == ({"available": 8_999_000, "threshold": 9_000_000, "currency": "USD"},)
    world.assert_ledger_consistent()


def test_event_list_ends_before_uncommitted_events(world: World) -> None:
    # Given an event whose transaction is open, and a later one that has committed
    with world.engine.connect() as slow:
        slow.exec_driver_sql("CREATE TEMP TABLE IF NOT EXISTS marker (id int) ON COMMIT DROP")  # it has begun to write
        slow.execute(sa.text("SELECT pg_current_xact_id()"))
        write_events(slow, [Event(world.wallet_id, EventType.PAYOUT_FAILED.value, None, 0, {})], world.clock.now())
        add_events(world, kind="payout.created")

        def read(after: uuid.UUID | None = None) -> EventSlice:
            with world.engine.connect() as connection:
                return load_events(connection, world.wallet_id, after, None, limit=10)

        # Then neither is listed yet: after the later one, a reader would skip the earlier
        before = read()
        assert before.events == []
        slow.commit()
    # When both have committed, and a moment has passed, then both are listed, in order, once
    part = until(lambda: len((found := read(before.after)).events) == 2 and found, "both events are listed")
    assert [event.type for event in part.events] == ["payout.failed", "payout.created"]
    assert read(part.after).events == []
