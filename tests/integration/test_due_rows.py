"""Due rows: the tick is the guarantee when no doorbell was heard; any number of schedulers may tick."""

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
    """Makes rows due a moment ago."""
    world.execute(
        f"UPDATE {table} SET next_action_at = clock_timestamp() - interval '1 s' WHERE id = ANY(:ids)",
        ids=ids,
    )


def claimed(world: World, name: str, limit: int = 10_000) -> list[uuid.UUID]:
    """One tick's claim."""
    with world.engine.begin() as connection:
        return due_rows.claim_due_rows(connection, BY_NAME[name], limit=limit, again_seconds=10).ids


def test_an_accepted_payout_becomes_due_by_itself_after_the_grace(world: World) -> None:
    """Whoever lost the doorbell message: the tick finds it, once in ten seconds."""
    world.clock.advance(minutes=1)  # on a busy machine the grace would be over before we look
    payout_ids = world.accepted(3)
    assert not set(payout_ids) & set(claimed(world, "payouts_validated"))
    overdue(world, "payouts", payout_ids)
    assert set(payout_ids) <= set(claimed(world, "payouts_validated"))
    assert not set(payout_ids) & set(claimed(world, "payouts_validated"))


def test_each_kind_of_row_is_rung_for_by_its_own_bell(world: World) -> None:
    """Queued payouts, submissions by rail: instant ones on their own queue."""
    queued = world.queued(2)
    instant = world.accepted(1, Rail.INSTANT)
    [(submission_id,)] = world.rows("SELECT submission_id FROM payouts WHERE id = :id", id=instant[0])
    overdue(world, "payouts", queued)
    assert set(queued) <= set(claimed(world, "payouts_queued"))
    overdue(world, "submissions", [submission_id])  # type: ignore[list-item]
    assert submission_id not in claimed(world, "submissions")
    assert submission_id in claimed(world, "submissions_instant")
    assert BY_NAME["submissions_instant"].task.queue == "instant"


def test_schedulers_at_once_share_the_due_rows(world: World) -> None:
    """Given 200 due payouts and four schedulers, each payout is claimed by one of them."""
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


def test_messages_carry_ids_and_nothing_else() -> None:
    """At most 500 in each, each id once."""
    ids = [uuid.uuid4() for _ in range(1_001)]
    made = build_messages(task_queue.QUEUE_PAYOUTS, [*ids, *ids])
    assert [len(message.args[0]) for message in made] == [500, 500, 1]
    assert [uuid.UUID(text) for message in made for text in message.args[0]] == ids
    assert all(message.kwargs == {} for message in made)


@pytest.mark.parametrize("copies", [1, 2])
def test_the_doorbell_rings_in_the_queue(settings: Settings, copies: int) -> None:
    """Joined into one message; as often as the setting says."""
    client = redis.Redis.from_url(settings.redis_url)
    client.flushall()
    task_sender = TaskSender(msgspec.structs.replace(settings, task_message_copies=copies))
    task_sender.enqueue(task_queue.QUEUE_PAYOUTS, [uuid.uuid4()])
    task_sender.close()
    assert client.llen("ovnpay:payouts") == copies
    client.close()


def test_who_waits_for_an_instant_payout_is_woken(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given an idle worker that would look by itself only a minute later, what is rung for now is heard now."""
    monkeypatch.setitem(task_queue.POLL_INTERVAL_MS, "instant", 60_000)
    listening = TaskBroker(settings, [], timeout_seconds=90.0)
    listening.client.flushall()
    heard: list[list[str]] = []

    def listen() -> None:
        ear = listening.consume("instant", prefetch=1)
        while not heard:
            message = next(ear)
            if message is not None:
                heard.append(message.args[0])

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    until(lambda: any(one["cmd"] == "blpop" for one in listening.client.client_list()), "it waits")
    submission_id = uuid.uuid4()
    task_sender = TaskSender(settings)
    task_sender.enqueue(task_queue.SEND_INSTANT_SUBMISSIONS, [submission_id])
    listener.join(20)
    assert heard == [[submission_id.hex]]
    task_sender.close()
    listening.close()


def test_without_redis_ringing_neither_raises_nor_waits(settings: Settings) -> None:
    """The rings are dropped and counted; the tick will ring."""
    task_sender = TaskSender(msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:9/0"))
    started = time.monotonic()
    for _ in range(1_000):
        task_sender.enqueue(task_queue.QUEUE_PAYOUTS, [uuid.uuid4()])
    assert time.monotonic() - started < 0.5
    task_sender.close()
    assert task_sender.dropped == 1_000


@pytest.mark.parametrize("name", [name for name in BY_NAME if name.startswith("payouts_")])
def test_what_is_due_is_looked_up_in_its_index(world: World, name: str) -> None:
    """However much waits for its time: a tick that reads all of that took 0.6 s with 40,000 payouts at the provider."""
    kind = BY_NAME[name]
    asked: list[tuple[str, object]] = []
    with world.engine.connect() as connection:
        sa.event.listen(
            connection, "before_cursor_execute", lambda _c, _u, sql, values, _x, _m: asked.append((sql, values))
        )
        due_rows.claim_due_rows(connection, kind, limit=500, again_seconds=10)
        due_rows.due_backlog(connection)
        connection.execute(sa.text("SET LOCAL enable_seqscan = off"))
        mine = [one for one in asked if f"FROM {kind.table}" in one[0] and kind.condition in one[0]]
        assert len(mine) == 2
        for sql, values in mine:
            plan = connection.exec_driver_sql(f"EXPLAIN {sql}", values).scalars().all()
            assert any("Index Cond" in line and "next_action_at <=" in line for line in plan), "\n".join(plan)
        connection.rollback()
