"""Deliveries: written with their event, tried on schedule by whoever holds them, paused and resumed with what waits."""

import itertools
import uuid
from datetime import timedelta

import msgspec
import pytest
import sqlalchemy as sa

from shared import ledger
from shared.events import deliveries, endpoints
from shared.events.claim import release_leases
from shared.events.customer_events import Event, EventType, write_events
from shared.events.delivery_results import DeliveryResult
from shared.events.queries import EventSlice, delivery_backlog, load_deliveries, load_endpoint, load_events
from shared.events.retry_schedule import RETRY_DELAYS_SECONDS
from shared.events.rows import delivery_payload
from shared.ledger import NewTransfer
from shared.onboarding.organizations import set_wallet_policy
from shared.operations import due_rows
from shared.platform.ids import EVENT, public_id
from shared.platform.pagination import PageRequest
from shared.schema.events import EndpointStatus, Pace
from shared.schema.ledger import TransferKind
from shared.schema.organizations import Mode
from shared.schema.payouts import PayoutStatus
from tests.integration.webhooks import FAILED, FREE, OK, delivery, end, endpoint, happen, row, take
from tests.support.polling import until
from tests.support.world import World


def test_each_event_gets_a_delivery_to_every_endpoint_that_asked_for_it(world: World, engine: sa.Engine) -> None:
    # Given endpoints for different events, one disabled, one deleted, and one of another wallet's
    paid = endpoint(world, events=["payout.succeeded"])
    every = endpoint(world)
    disabled, deleted, other = endpoint(world), endpoint(world), endpoint(World(engine))
    with engine.begin() as connection:
        status = EndpointStatus.DISABLED
        now = world.clock.now()
        endpoints.update_endpoint(connection, world.wallet_id, disabled, now, url=None, events=None, status=status)
        endpoints.delete_endpoint(connection, world.wallet_id, deleted, now)
    # When a payout is made and paid
    [payout_id] = world.queued()
    world.end([payout_id], PayoutStatus.COMPLETED)
    # Then each has what it asked for
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
    assert not take(world, disabled, deleted, other)


def test_an_event_rolled_back_has_no_delivery(world: World) -> None:
    hook = endpoint(world)
    with pytest.raises(RuntimeError), world.engine.begin() as connection:  # noqa: PT012
        deliveries.send_test_event(
            connection, world.wallet_id, load_endpoint(connection, world.wallet_id, hook), world.clock.now()
        )
        raise RuntimeError
    assert not take(world, hook)


def test_what_is_sent_is_a_snapshot_and_the_same_bytes_each_time(world: World) -> None:
    hook = endpoint(world)
    [payout_id] = world.queued()
    [created] = take(world, hook)
    body = msgspec.json.decode(created.body)
    assert list(body) == ["id", "type", "apiVersion", "createdAt", "sequence", "data"]
    assert (body["type"], body["apiVersion"], body["sequence"]) == ("payout.created", "2026-02-01", 1)
    # Though the payout has gone on, another attempt tells of what was then
    assert body["data"]["status"] == "validated"
    world.end([payout_id], PayoutStatus.COMPLETED)
    end(world, (created, FAILED))
    world.clock.advance(seconds=10)
    again = next(attempt for attempt in take(world, hook) if attempt.event_id == created.event_id)
    assert (again.body, again.attempts) == (created.body, 2)
    assert again.token != created.token
    later = [attempt for attempt in take(world, hook) if attempt.event_id != created.event_id]
    assert [msgspec.json.decode(attempt.body)["sequence"] for attempt in later] in ([], [4])


def test_attempts_come_at_the_promised_times_and_end(world: World) -> None:
    hook = endpoint(world)
    happen(world)
    waited = []
    for number, delay in enumerate(RETRY_DELAYS_SECONDS, 1):
        if delay:
            world.clock.advance(seconds=delay - 0.001)
            assert not take(world, hook), "not before its time"
            world.clock.advance(seconds=0.001)
        [attempt] = take(world, hook)
        assert attempt.attempts == number
        end(world, (attempt, FAILED))
        waited.append(delay)
    assert sum(waited) == pytest.approx(75.5 * 3600 + 35 * 60 + 5 - 0.0, abs=3600)
    assert (delivery(world, attempt)["status"], delivery(world, attempt)["next_action_at"]) == ("failed", None)
    world.clock.advance(days=1)
    assert not take(world, hook)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_whatever_the_order_of_results_each_delivery_has_its_own(world: World, order: tuple[int, ...]) -> None:
    # Given three events under way, and what becomes of each: a success, a failure, a wish for later
    hook = endpoint(world)
    happen(world)
    end(world, *((attempt, OK) for attempt in take(world, hook)))  # quick from now on
    happen(world, 3)
    attempts = take(world, hook)
    replies = [OK, FAILED, DeliveryResult("refused", 503, "answered 503", 0.01, retry_after_seconds=100.0)]
    # When they end in this order
    for place in order:
        end(world, (attempts[place], replies[place]))
    # Then each is where it belongs
    states = [(found["status"], found["next_action_at"]) for found in (delivery(world, one) for one in attempts)]
    now = world.clock.now()
    assert states == [
        ("delivered", None),
        ("pending", now + timedelta(seconds=5)),
        ("pending", now + timedelta(seconds=100)),
    ]
    # and the endpoint is left alone as it has asked, unless it has answered well since
    rests = order.index(2) > order.index(0)
    assert row(world, hook)["not_before"] == (now + timedelta(seconds=100) if rests else None)


def test_a_worker_that_died_after_its_call_leaves_the_event_to_the_next_under_the_same_id(world: World) -> None:
    # Given a worker that has called, and was killed before it could write that down
    hook = endpoint(world)
    happen(world)
    [lost] = take(world, hook, lease_seconds=-1)
    # When its lease is over, then another delivers it again, under the same id
    world.clock.advance(seconds=1)
    [again] = take(world, hook)
    assert again.key == lost.key
    assert again.attempts == 2
    # And should the first one wake up, its result does not count
    end(world, (lost, FAILED))
    assert delivery(world, again)["lease_token"] == again.token
    assert row(world, hook)["failures_in_a_row"] == 0
    end(world, (again, OK))
    end(world, (lost, FAILED))
    assert delivery(world, again)["status"] == "delivered"


def test_what_a_worker_that_ends_hands_back_is_due_at_once_and_counts_as_not_tried(world: World) -> None:
    # Given two deliveries that a worker holds, of which one has ended
    hook = endpoint(world)
    happen(world, 2)
    cut, ended = take(world, hook)
    end(world, (ended, OK))
    # When it hands back what it holds
    with world.engine.begin() as connection:
        assert release_leases(connection, [cut, ended], world.clock.now()) == 1
    # Then another has it at once, as the first attempt, and what the first one says of it later counts no more
    [again] = take(world, hook)
    assert (again.key, again.attempts) == (cut.key, 1)
    end(world, (cut, FAILED))
    end(world, (again, OK))
    assert [delivery(world, one)["status"] for one in (again, ended)] == ["delivered", "delivered"]


def test_an_endpoint_has_a_few_calls_at_once_and_one_while_it_fails(world: World) -> None:
    hook = endpoint(world)
    happen(world, 20)
    first = take(world, hook)
    assert len(first) == 2  # nobody knows it yet
    assert not take(world, hook), "two processes have no more together"
    end(world, *((attempt, OK) for attempt in first))
    quick = take(world, hook)
    assert (len(quick), quick[0].pace) == (8, Pace.QUICK)
    # Two quick failures are forgiven, as a restart brings them; the third is not
    end(world, (quick[0], FAILED), (quick[1], FAILED))
    assert row(world, hook)["pace"] == "quick"
    end(world, (quick[2], FAILED))
    assert row(world, hook)["pace"] == "failing"
    end(world, *((attempt, FAILED) for attempt in quick[3:]))
    assert not take(world, hook), "it rests"
    world.clock.advance(seconds=6)
    assert len(take(world, hook)) == 1
    # A lane without room takes nobody, whatever waits
    assert not take(world, hook, free=FREE | {Pace.FAILING: 0})


def test_endpoints_share_a_lane_in_turn(world: World) -> None:
    hooks = [endpoint(world) for _ in range(3)]
    happen(world, 5)
    taken = take(world, *hooks, free=FREE | {Pace.SLOW: 4})
    assert sorted(sum(1 for one in taken if one.endpoint_id == hook) for hook in hooks) == [1, 1, 2]


@pytest.mark.parametrize("reason", ["gone", "failing"])
def test_an_endpoint_that_is_gone_or_fails_for_days_is_paused_and_says_so(world: World, reason: str) -> None:
    # Given an endpoint, and another that wants to know when one is paused
    hook, watcher = endpoint(world, "https://example.com/?token=x"), endpoint(world, events=["webhook.paused"])
    happen(world)
    [attempt] = take(world, hook)
    # When it says that it is gone, or fails for five days
    if reason == "gone":
        [paused] = end(world, (attempt, DeliveryResult("gone", 410, "answered 410 Gone", 0.01)))
    else:
        assert end(world, (attempt, FAILED)) == []
        world.clock.advance(days=5)
        happen(world)
        [paused] = end(world, *((attempt, FAILED) for attempt in take(world, hook)))
    # Then it is paused, the other hears of it, and the audit log has it
    assert (paused.endpoint_id, paused.reason) == (hook, reason)
    assert (row(world, hook)["status"], row(world, hook)["paused_reason"]) == ("paused", reason)
    [told] = take(world, watcher)
    data = msgspec.json.decode(told.body)["data"]
    assert (data["pausedReason"], data["url"]) == (reason, "https://example.com/?***")
    assert world.rows(
        "SELECT actor_kind FROM audit_entries WHERE organization_id = :id AND action = 'webhook.pause'",
        id=world.organization_id,
    ) == [("system",)]
    # What happens meanwhile waits for it; once it is active again all of it is due at once
    happen(world, 3)
    world.clock.advance(days=1)
    assert not take(world, hook)
    with world.engine.begin() as connection:
        now = world.clock.now()
        status = EndpointStatus.ACTIVE
        endpoints.update_endpoint(connection, world.wallet_id, hook, now, url=None, events=None, status=status)
    done = 0
    while attempts := take(world, hook):
        done += len(attempts)
        end(world, *((attempt, OK) for attempt in attempts))
    assert done == (5 if reason == "gone" else 6)
    assert row(world, hook)["failing_since"] is None


def test_a_success_in_between_begins_the_five_days_anew(world: World) -> None:
    hook = endpoint(world)
    for _ in range(3):
        happen(world)
        [attempt] = take(world, hook)
        assert end(world, (attempt, FAILED)) == []
        world.clock.advance(days=3)
        [attempt] = take(world, hook)
        assert end(world, (attempt, OK)) == []


def test_events_are_redelivered_one_or_all_since_a_time_also_those_never_sent(world: World) -> None:
    # Given two events of an hour ago, then three more, of which one failed; and an endpoint that is new
    world.clock.advance(hours=-1)
    hook = endpoint(world)
    happen(world, 2)
    end(world, *((attempt, OK) for attempt in take(world, hook)))
    world.clock.advance(hours=1)
    since = world.clock.now()
    happen(world, 3)
    early = take(world, hook)
    end(world, (early[0], FAILED), *((attempt, OK) for attempt in early[1:]))
    new = endpoint(world, "https://example.com/new")
    world.clock.advance(seconds=1)

    def again(endpoint_id: uuid.UUID, *, failed_only: bool = False) -> int:
        with world.engine.begin() as connection:
            found = load_endpoint(connection, world.wallet_id, endpoint_id)
            now = world.clock.now()
            done = deliveries.redeliver_events_since(
                connection, world.wallet_id, found, since, now, failed_only=failed_only
            )
        assert done.until is None
        return done.event_count

    # Then the failed one alone, all three, and for the new one all three, can be delivered again
    assert (again(hook, failed_only=True), again(hook), again(new)) == (1, 3, 3)
    assert {attempt.attempts for attempt in take(world, hook, new)} == {1}
    # and one by its id, whatever became of it
    with world.engine.begin() as connection:
        found = load_endpoint(connection, world.wallet_id, new)
        [first, *_] = world.rows(
            "SELECT min(id::text)::uuid FROM customer_events WHERE wallet_id = :id", id=world.wallet_id
        )
        event_id = first[0]
        assert isinstance(event_id, uuid.UUID)
        deliveries.redeliver_event(connection, world.wallet_id, found, event_id, world.clock.now())
        page = load_deliveries(connection, found, PageRequest(10), None)
    assert [public_id(EVENT, event_id) in str(delivery_payload(one)) for one in page.rows] == [
        False,
        False,
        False,
        True,
    ]


def test_deliveries_are_forgotten_after_thirty_days(world: World) -> None:
    hook = endpoint(world)
    happen(world)
    [attempt] = take(world, hook)
    with world.engine.begin() as connection:
        deliveries.delete_old_deliveries(connection, world.clock.now(), limit=10_000)
    assert delivery(world, attempt)
    with world.engine.begin() as connection:  # the tests' other wallets are none of ours: all of this is long ago
        assert deliveries.delete_old_deliveries(connection, world.clock.now() + timedelta(days=31), limit=10_000) > 0
        left = "SELECT count(*) FROM webhook_deliveries WHERE endpoint_id = :id"
        assert connection.scalar(sa.text(left), {"id": hook}) == 0
        connection.rollback()


def test_the_tick_rings_for_endpoints_that_something_is_due_for(world: World) -> None:
    busy, idle, paused = endpoint(world), endpoint(world, events=["payout.failed"]), endpoint(world)
    world.execute(
        "UPDATE webhook_endpoints SET status = 'paused', paused_reason = 'customer' WHERE id = :id", id=paused
    )
    happen(world, 50)

    def enqueued() -> set[uuid.UUID]:
        with world.engine.begin() as connection:
            return set(due_rows.claim_due_rows(connection, due_rows.WEBHOOK_KIND, limit=500, again_seconds=0).ids) & {
                busy,
                idle,
                paused,
            }

    assert enqueued() == {busy}
    with world.engine.connect() as connection:
        assert delivery_backlog(connection)[0] >= 50
    world.execute("UPDATE webhook_endpoints SET not_before = now() + interval '1 minute' WHERE id = :id", id=busy)
    assert enqueued() == set()


def test_a_low_balance_is_told_when_it_is_fallen_below_and_not_again_before_it_was_above(world: World) -> None:
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

    # Given a wallet of 100,000.00 without a threshold, which says nothing; then with one
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
    told = []
    for cents in steps:
        if cents < 0:
            world.accept(world.order(world.driver(), -cents))
        else:
            top_up(cents)
        told.append(len(lows()))
    # Then it is told at 8,999,000 (9,000,000 itself is not low), and once more at the end
    assert told == [0, 1, 1, 1, 1, 1, 2]
    assert lows()[0] == ({"available": 8_999_000, "threshold": 9_000_000, "currency": "USD"},)
    world.assert_ledger_consistent()


def test_the_feed_ends_before_what_is_still_on_its_way(world: World) -> None:
    # Given an event whose transaction is under way, and a later one that has committed
    with world.engine.connect() as slow:
        slow.exec_driver_sql("CREATE TEMP TABLE IF NOT EXISTS marker (id int) ON COMMIT DROP")  # it has begun to write
        slow.execute(sa.text("SELECT pg_current_xact_id()"))
        write_events(slow, [Event(world.wallet_id, EventType.PAYOUT_FAILED.value, None, 0, {})], world.clock.now())
        happen(world, kind="payout.created")

        def read(after: uuid.UUID | None = None) -> EventSlice:
            with world.engine.connect() as connection:
                return load_events(connection, world.wallet_id, after, None, limit=10)

        # Then neither is in the feed yet: the later one would make the reader miss the earlier
        place = read()
        assert place.events == []
        slow.commit()
    # When both have, and a moment has passed, then both are there, in order, once
    part = until(lambda: (found := read(place.after)).events and found, "the events are in the feed")
    assert [event.type for event in part.events] == ["payout.failed", "payout.created"]
    assert read(part.after).events == []
