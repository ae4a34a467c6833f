"""Due rows are enqueued by the scheduler even if their message was lost; any number of schedulers may claim them."""

import threading
import time
import uuid

import msgspec
import pytest
import redis
import sqlalchemy as sa

from shared.operations import due_rows
from shared.operations.due_rows import DUE_KINDS
from shared.platform import task_queue
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskBroker, TaskSender, build_messages
from shared.schema.payouts import Rail
from tests.support.polling import until
from tests.support.world import World

BY_NAME = {kind.name: kind for kind in DUE_KINDS}


def overdue(world: World, table: str, ids: list[uuid.UUID]) -> None:
    """Make rows due a moment ago."""
    world.execute(
        f"UPDATE {table} SET next_action_at = clock_timestamp() - interval '1 s' WHERE id = ANY(:ids)",
        ids=ids,
    )


def claimed(world: World, name: str, limit: int = 10_000) -> list[uuid.UUID]:
    """Claim as one tick does."""
    with world.engine.begin() as connection:
        return due_rows.claim_due_rows(connection, BY_NAME[name], limit=limit, again_seconds=10).ids


def test_accepted_payout_is_due_after_its_wake_up_grace(world: World) -> None:
    world.clock.advance(minutes=1)  # on a busy machine the grace would be over before the claim
    payout_ids = world.accepted(3)
    assert not set(payout_ids) & set(claimed(world, "payouts_validated"))
    overdue(world, "payouts", payout_ids)
    assert set(payout_ids) <= set(claimed(world, "payouts_validated"))
    assert not set(payout_ids) & set(claimed(world, "payouts_validated"))


def test_rows_are_claimed_by_kind(world: World) -> None:
    """Instant submissions have their own queue."""
    queued = world.queued(2)
    instant = world.accepted(1, Rail.INSTANT)
    [(submission_id,)] = world.rows("SELECT submission_id FROM payouts WHERE id = :id", id=instant[0])
    overdue(world, "payouts", queued)
    assert set(queued) <= set(claimed(world, "payouts_queued"))
    overdue(world, "submissions", [submission_id])  # type: ignore[list-item]
    assert submission_id not in claimed(world, "submissions")
    assert submission_id in claimed(world, "submissions_instant")
    assert BY_NAME["submissions_instant"].task.queue == "instant"


def test_concurrent_schedulers_claim_each_row_once(world: World) -> None:
    payout_ids = world.accepted(200)
    overdue(world, "payouts", payout_ids)
    claims: list[uuid.UUID] = []

    def scheduler() -> None:
        while found := claimed(world, "payouts_validated", limit=30):
            claims.extend(found)

    threads = [threading.Thread(target=scheduler) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    mine = [payout_id for payout_id in claims if payout_id in set(payout_ids)]
    assert sorted(mine) == sorted(payout_ids)


def test_messages_carry_at_most_500_distinct_ids() -> None:
    ids = [uuid.uuid4() for _ in range(1_001)]
    built = build_messages(task_queue.QUEUE_PAYOUTS, [*ids, *ids])
    assert [len(message.args[0]) for message in built] == [500, 500, 1]
    assert [uuid.UUID(text) for message in built for text in message.args[0]] == ids
    assert all(message.kwargs == {} for message in built)


@pytest.mark.parametrize("copies", [1, 2])
def test_ids_are_enqueued_in_as_many_copies_as_configured(settings: Settings, copies: int) -> None:
    client = redis.Redis.from_url(settings.redis_url)
    client.flushall()
    task_sender = TaskSender(msgspec.structs.replace(settings, task_message_copies=copies))
    task_sender.enqueue(task_queue.QUEUE_PAYOUTS, [uuid.uuid4()])
    task_sender.close()
    assert client.llen("ovnpay:payouts") == copies
    client.close()


def test_idle_worker_is_woken_by_a_message(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would poll only a minute later."""
    monkeypatch.setitem(task_queue.POLL_INTERVAL_MS, "instant", 60_000)
    broker = TaskBroker(settings, [], timeout_seconds=90.0)
    broker.client.flushall()
    received: list[list[str]] = []

    def listen() -> None:
        consumer = broker.consume("instant", prefetch=1)
        while not received:
            message = next(consumer)
            if message is not None:
                received.append(message.args[0])

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    until(lambda: any(one["cmd"] == "blpop" for one in broker.client.client_list()), "the worker waits")
    submission_id = uuid.uuid4()
    task_sender = TaskSender(settings)
    task_sender.enqueue(task_queue.SEND_INSTANT_SUBMISSIONS, [submission_id])
    listener.join(20)
    assert received == [[submission_id.hex]]
    task_sender.close()
    broker.close()


def test_enqueue_without_redis_neither_raises_nor_waits(settings: Settings) -> None:
    """Messages are dropped and counted; the scheduler enqueues the rows again."""
    task_sender = TaskSender(msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:9/0"))
    started = time.monotonic()
    for _ in range(1_000):
        task_sender.enqueue(task_queue.QUEUE_PAYOUTS, [uuid.uuid4()])
    assert time.monotonic() - started < 0.5
    task_sender.close()
    assert task_sender.dropped == 1_000


@pytest.mark.parametrize("name", [name for name in BY_NAME if name.startswith("payouts_")])
def test_due_rows_are_found_by_index(world: World, name: str) -> None:
    """Reading all rows took 0.6 s per tick with 40,000 payouts at the provider."""
    kind = BY_NAME[name]
    statements: list[tuple[str, object]] = []
    with world.engine.connect() as connection:
        sa.event.listen(
            connection, "before_cursor_execute", lambda _c, _u, sql, values, _x, _m: statements.append((sql, values))
        )
        due_rows.claim_due_rows(connection, kind, limit=500, again_seconds=10)
        due_rows.due_backlog(connection)
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        mine = [one for one in statements if f"FROM {kind.table}" in one[0] and kind.condition in one[0]]
        assert len(mine) == 2
        for sql, values in mine:
            plan = connection.exec_driver_sql(f"EXPLAIN {sql}", values).scalars().all()
            assert any("Index Cond" in line and "next_action_at <=" in line for line in plan), "\n".join(plan)
        connection.rollback()
