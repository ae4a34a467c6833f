"""Deliveries: written with their event, attempted on schedule under leases, paused and resumed with their endpoint."""

import itertools
import uuid
from datetime import timedelta

import msgspec
import pytest
import sqlalchemy as sa

from shared.events import deliveries, endpoints
from shared.events.claim import release_leases
from shared.events.delivery_results import DeliveryResult
from shared.events.queries import delivery_backlog, load_deliveries, load_endpoint
from shared.events.retry_schedule import RETRY_DELAYS_SECONDS
from shared.events.rows import delivery_payload
from shared.operations import due_rows
from shared.platform.ids import EVENT, public_id
from shared.platform.pagination import PageRequest
from shared.schema.events import EndpointStatus, Pace
from shared.schema.payouts import PayoutStatus
from tests.support.webhooks import (
    DELIVERED,
    FAILED,
    FREE_SLOTS,
    add_endpoint,
    add_events,
    claim,
    delivery_row,
    endpoint_row,
    record,
)
from tests.support.world import World


def test_body_is_a_snapshot_and_identical_on_every_attempt(world: World) -> None:
    hook = add_endpoint(world)
    [payout_id] = world.queued()
    [created] = claim(world, hook)
    body = msgspec.json.decode(created.body)
    assert list(body) == ["id", "type", "apiVersion", "createdAt", "sequence", "data"]
    assert (body["type"], body["apiVersion"], body["sequence"]) == ("payout.created", "2026-02-01", 1)
    # After the payout changed, another attempt still sends the earlier state
    assert body["data"]["status"] == "validated"
    world.end([payout_id], PayoutStatus.COMPLETED)
    record(world, (created, FAILED))
    world.clock.advance(seconds=10)
    again = next(attempt for attempt in claim(world, hook) if attempt.event_id == created.event_id)
    assert (again.body, again.attempts) == (created.body, 2)
    assert again.token != created.token
    later = [attempt for attempt in claim(world, hook) if attempt.event_id != created.event_id]
    assert [msgspec.json.decode(attempt.body)["sequence"] for attempt in later] in ([], [4])


def test_attempts_follow_the_schedule_and_end(world: World) -> None:
    hook = add_endpoint(world)
    add_events(world)
    for number, delay in enumerate(RETRY_DELAYS_SECONDS, 1):
        if delay:
            world.clock.advance(seconds=delay - 0.001)
            assert not claim(world, hook), "not due yet"
            world.clock.advance(seconds=0.001)
        [attempt] = claim(world, hook)
        assert attempt.attempts == number
        record(world, (attempt, FAILED))
    assert (delivery_row(world, attempt)["status"], delivery_row(world, attempt)["next_action_at"]) == ("failed", None)
    world.clock.advance(days=1)
    assert not claim(world, hook)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_results_recorded_in_any_order_apply_to_their_own_delivery(world: World, order: tuple[int, ...]) -> None:
    # Given three calls under way, and their results: a success, a failure, a failure with Retry-After
    hook = add_endpoint(world)
    add_events(world)
    record(world, *((attempt, DELIVERED) for attempt in claim(world, hook)))  # at quick pace from now on
    add_events(world, 3)
    attempts = claim(world, hook)
    results = [DELIVERED, FAILED, DeliveryResult("refused", 503, "answered 503", 0.01, retry_after_seconds=100.0)]
    # When they end in this order
    for index in order:
        record(world, (attempts[index], results[index]))
    # Then each delivery has its own result
    states = [(found["status"], found["next_action_at"]) for found in (delivery_row(world, one) for one in attempts)]
    now = world.clock.now()
    assert states == [
        ("delivered", None),
        ("pending", now + timedelta(seconds=5)),
        ("pending", now + timedelta(seconds=100)),
    ]
    # and the endpoint is not called until the time it asked for, unless it succeeded since
    is_cooling_down = order.index(2) > order.index(0)
    assert endpoint_row(world, hook)["not_before"] == (now + timedelta(seconds=100) if is_cooling_down else None)


def test_event_of_a_killed_worker_is_delivered_again_under_the_same_id(world: World) -> None:
    # Given a worker that was killed between its call and recording the result
    hook = add_endpoint(world)
    add_events(world)
    [lost] = claim(world, hook, lease_seconds=-1)
    # When its lease has expired, then another worker delivers it again, under the same id
    world.clock.advance(seconds=1)
    [again] = claim(world, hook)
    assert again.key == lost.key
    assert again.attempts == 2
    # And a late result of the first one does not count
    record(world, (lost, FAILED))
    assert delivery_row(world, again)["lease_token"] == again.token
    assert endpoint_row(world, hook)["failures_in_a_row"] == 0
    record(world, (again, DELIVERED))
    record(world, (lost, FAILED))
    assert delivery_row(world, again)["status"] == "delivered"


def test_released_lease_makes_the_delivery_due_without_counting_the_attempt(world: World) -> None:
    # Given two deliveries leased to a worker, one of which has ended
    hook = add_endpoint(world)
    add_events(world, 2)
    cut, ended = claim(world, hook)
    record(world, (ended, DELIVERED))
    # When it releases its leases
    with world.engine.begin() as connection:
        assert release_leases(connection, [cut, ended], world.clock.now()) == 1
    # Then another worker gets it at once, as the first attempt, and a late result of the first one does not count
    [again] = claim(world, hook)
    assert (again.key, again.attempts) == (cut.key, 1)
    record(world, (cut, FAILED))
    record(world, (again, DELIVERED))
    assert [delivery_row(world, one)["status"] for one in (again, ended)] == ["delivered", "delivered"]


def test_endpoint_has_few_concurrent_calls_and_one_while_it_fails(world: World) -> None:
    hook = add_endpoint(world)
    add_events(world, 20)
    first = claim(world, hook)
    assert len(first) == 2  # a new endpoint is slow
    assert not claim(world, hook), "two processes together exceed the limit"
    record(world, *((attempt, DELIVERED) for attempt in first))
    quick = claim(world, hook)
    assert (len(quick), quick[0].pace) == (8, Pace.QUICK)
    # Two quick failures, as during a restart, are tolerated; the third is not
    record(world, (quick[0], FAILED), (quick[1], FAILED))
    assert endpoint_row(world, hook)["pace"] == "quick"
    record(world, (quick[2], FAILED))
    assert endpoint_row(world, hook)["pace"] == "failing"
    record(world, *((attempt, FAILED) for attempt in quick[3:]))
    assert not claim(world, hook), "it is cooling down"
    world.clock.advance(seconds=6)
    assert len(claim(world, hook)) == 1
    # A pace without free slots gets no claims
    assert not claim(world, hook, free=FREE_SLOTS | {Pace.FAILING: 0})


def test_endpoints_of_a_pace_are_claimed_round_robin(world: World) -> None:
    hooks = [add_endpoint(world) for _ in range(3)]
    add_events(world, 5)
    claimed = claim(world, *hooks, free=FREE_SLOTS | {Pace.SLOW: 4})
    assert sorted(sum(1 for one in claimed if one.endpoint_id == hook) for hook in hooks) == [1, 1, 2]


@pytest.mark.parametrize("reason", ["gone", "failing"])
def test_endpoint_that_is_gone_or_fails_for_days_is_paused_and_reported(world: World, reason: str) -> None:
    # Given an endpoint, and another that subscribes to `webhook.paused`
    hook, watcher = add_endpoint(world, "https://example.com/?token=x"), add_endpoint(world, events=["webhook.paused"])
    add_events(world)
    [attempt] = claim(world, hook)
    # When it answers 410, or fails for five days
    if reason == "gone":
        [paused] = record(world, (attempt, DeliveryResult("gone", 410, "answered 410 Gone", 0.01)))
    else:
        assert record(world, (attempt, FAILED)) == []
        world.clock.advance(days=5)
        add_events(world)
        [paused] = record(world, *((attempt, FAILED) for attempt in claim(world, hook)))
    # Then it is paused, the other one is notified, and the audit log has an entry
    assert (paused.endpoint_id, paused.reason) == (hook, reason)
    assert (endpoint_row(world, hook)["status"], endpoint_row(world, hook)["paused_reason"]) == ("paused", reason)
    [notification] = claim(world, watcher)
    data = msgspec.json.decode(notification.body)["data"]
    assert (data["pausedReason"], data["url"]) == (reason, "https://example.com/?***")
    assert world.rows(
        "SELECT actor_kind FROM audit_entries WHERE organization_id = :id AND action = 'webhook.pause'",
        id=world.organization_id,
    ) == [("system",)]
    # Events in the meantime wait; once it is active again all are due at once
    add_events(world, 3)
    world.clock.advance(days=1)
    assert not claim(world, hook)
    with world.engine.begin() as connection:
        now = world.clock.now()
        status = EndpointStatus.ACTIVE
        endpoints.update_endpoint(connection, world.wallet_id, hook, now, url=None, events=None, status=status)
    done = 0
    while attempts := claim(world, hook):
        done += len(attempts)
        record(world, *((attempt, DELIVERED) for attempt in attempts))
    assert done == (5 if reason == "gone" else 6)
    assert endpoint_row(world, hook)["failing_since"] is None


def test_success_restarts_the_five_days(world: World) -> None:
    hook = add_endpoint(world)
    for _ in range(3):
        add_events(world)
        [attempt] = claim(world, hook)
        assert record(world, (attempt, FAILED)) == []
        world.clock.advance(days=3)
        [attempt] = claim(world, hook)
        assert record(world, (attempt, DELIVERED)) == []


def test_one_event_or_all_since_a_time_are_redelivered_even_if_never_sent(world: World) -> None:
    # Given two events an hour ago, then three more, one of which failed; and a new endpoint
    world.clock.advance(hours=-1)
    hook = add_endpoint(world)
    add_events(world, 2)
    record(world, *((attempt, DELIVERED) for attempt in claim(world, hook)))
    world.clock.advance(hours=1)
    since = world.clock.now()
    add_events(world, 3)
    early = claim(world, hook)
    record(world, (early[0], FAILED), *((attempt, DELIVERED) for attempt in early[1:]))
    new = add_endpoint(world, "https://example.com/new")
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

    # Then only the failed one, all three, and for the new endpoint all three, can be redelivered
    assert (again(hook, failed_only=True), again(hook), again(new)) == (1, 3, 3)
    assert {attempt.attempts for attempt in claim(world, hook, new)} == {1}
    # and one by its id, whatever its status
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


def test_deliveries_are_deleted_after_thirty_days(world: World) -> None:
    hook = add_endpoint(world)
    add_events(world)
    [attempt] = claim(world, hook)
    with world.engine.begin() as connection:
        deliveries.delete_old_deliveries(connection, world.clock.now(), limit=10_000)
    assert delivery_row(world, attempt)
    with world.engine.begin() as connection:  # rolled back, as it deletes rows of other tests' wallets
        assert deliveries.delete_old_deliveries(connection, world.clock.now() + timedelta(days=31), limit=10_000) > 0
        left = "SELECT count(*) FROM webhook_deliveries WHERE endpoint_id = :id"
        assert connection.scalar(sa.text(left), {"id": hook}) == 0
        connection.rollback()


def test_scheduler_enqueues_endpoints_with_due_deliveries_only(world: World) -> None:
    busy, idle, paused = add_endpoint(world), add_endpoint(world, events=["payout.failed"]), add_endpoint(world)
    world.execute(
        "UPDATE webhook_endpoints SET status = 'paused', paused_reason = 'customer' WHERE id = :id", id=paused
    )
    add_events(world, 50)

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
