"""Dead letters and queue statuses: a failed message is kept, retried only on request, and never lost."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator

import dramatiq
import pytest

from shared.cli.main import app
from shared.platform.ids import new_id
from shared.platform.queue_statuses import load_queue_statuses
from shared.platform.registered_consumers import Heartbeat, count_registered, queue_role
from shared.platform.settings import Settings
from shared.platform.task_queue import REGISTER_DRIVERS, TaskBroker, build_messages, dead_letters, make_broker
from shared.platform.task_queue.dramatiq_internals import QueueKeys
from tests.support.polling import until
from tests.support.world import World

QUEUE = REGISTER_DRIVERS.queue
KEYS = QueueKeys(QUEUE)


class Actor:
    """Fails while `fails` is set; records the ids that it received."""

    def __init__(self) -> None:
        self.fails = True
        self.received: list[list[str]] = []
        self.lock = threading.Lock()

    def __call__(self, texts: list[str]) -> None:
        with self.lock:
            self.received.append(texts)
        if self.fails:
            raise RuntimeError("no luck with dora@drivers.example\nand a second line")


class Pool:
    """A real worker with that actor, on a real broker, registered as the consumer of its queue."""

    def __init__(self, settings: Settings) -> None:
        self.actor = Actor()
        self.broker: TaskBroker = make_broker(settings)
        self.client = self.broker.client
        for key in self.client.keys(f"{KEYS.queue}*"):
            self.client.delete(key)

        def perform(texts: list[str]) -> None:
            self.actor(texts)

        dramatiq.actor(actor_name=REGISTER_DRIVERS.actor, queue_name=REGISTER_DRIVERS.queue)(perform)
        self.worker = dramatiq.Worker(self.broker, worker_threads=2)
        self.worker.start()
        self.heartbeat = Heartbeat(settings, lambda: [queue_role(QUEUE)])

    def enqueue(self, *ids: uuid.UUID) -> None:
        """Enqueue these rows."""
        for message in build_messages(REGISTER_DRIVERS, ids):
            self.broker.enqueue(message)

    def letters(self) -> list[dead_letters.DeadLetter]:
        """Load the dead letters."""
        return dead_letters.load_dead_letters(self.client, QUEUE)

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait for a condition."""
        until(condition, "the condition", 10, pause_seconds=0.01)


@pytest.fixture
def pool(settings: Settings) -> Iterator[Pool]:
    """A pool with an empty queue."""
    pool = Pool(settings)
    yield pool
    pool.heartbeat.stop()
    pool.worker.stop()
    pool.broker.close()


def test_failed_message_is_kept_and_not_retried(pool: Pool) -> None:
    """Repeated failures for the same rows are one letter with a count, without personal data."""
    ids = [new_id(), new_id()]
    for times in (1, 2, 3):
        pool.enqueue(*ids)
        pool.until(lambda times=times: [one.times for one in pool.letters()] == [times])  # type: ignore[misc]
    [letter] = pool.letters()
    assert (letter.actor, letter.row_ids) == (REGISTER_DRIVERS.actor, ids)
    assert letter.error == "RuntimeError: no luck with …"
    assert letter.first_failed_at < letter.failed_at
    assert len(pool.actor.received) == 3
    pool.until(lambda: count_registered(pool.client)[queue_role(QUEUE)] == 1)
    [status] = [one for one in load_queue_statuses(pool.client) if one.queue == QUEUE]
    assert status == (QUEUE, 0, 0, 1, 1)


def test_retried_letter_is_removed_and_enqueued_once(pool: Pool) -> None:
    """Also by two operators at once; a retry that fails is the same letter again."""
    pool.enqueue(new_id())
    pool.until(lambda: len(pool.letters()) == 1)
    [letter] = pool.letters()
    assert dead_letters.retry_dead_letter(pool.client, QUEUE, letter.id)
    pool.until(lambda: [one.times for one in pool.letters()] == [2])
    assert [one.id for one in pool.letters()] == [letter.id]
    pool.actor.fails = False
    assert [dead_letters.retry_dead_letter(pool.client, QUEUE, letter.id) for _ in range(2)] == [True, False]
    pool.until(lambda: len(pool.actor.received) == 3)
    pool.until(lambda: pool.client.hlen(KEYS.messages) == 0)
    assert pool.letters() == []
    assert pool.client.llen(KEYS.queue) == 0


def test_only_the_newest_letters_of_a_queue_are_kept(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad release must not fill Redis, or every message would be refused."""
    monkeypatch.setattr(dead_letters, "DEAD_LETTERS_MAX", 3)
    ids = [new_id() for _ in range(5)]
    for number, row_id in enumerate(ids, 1):
        pool.enqueue(row_id)
        pool.until(lambda row_id=row_id: row_id in [one.row_ids[0] for one in pool.letters()])  # type: ignore[misc]
        assert len(pool.letters()) == min(number, 3)
    assert [one.row_ids for one in pool.letters()] == [[ids[4]], [ids[3]], [ids[2]]]
    assert pool.client.hlen(KEYS.dead_messages) == 3


def test_message_for_an_unknown_actor_is_kept(pool: Pool) -> None:
    """As in a rolling release: the newer scheduler enqueues it, the older worker receives it."""
    pool.broker.enqueue(dramatiq.Message(REGISTER_DRIVERS.queue, "drivers.unknown", ([new_id().hex],), {}, {}))
    pool.until(lambda: [one.actor for one in pool.letters()] == ["drivers.unknown"])
    assert (pool.letters()[0].error or "").startswith("ActorNotFound")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """Run a command; return its exit code and its output."""
    code = 0
    try:
        app(words, standalone_mode=False)
    except SystemExit as ended:
        code = int(str(ended.code))
    output = capsys.readouterr()
    return code, output.out + output.err


@pytest.fixture
def reachable(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the commands find Postgres and Redis."""
    monkeypatch.setenv("OVNPAY_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("OVNPAY_REDIS_URL", settings.redis_url)


def test_operators_list_queues_and_dead_letters_and_retry_them(
    pool: Pool, world: World, reachable: None, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a driver that is due and whose message failed, so one of the letter's two rows still waits
    driver_id = world.driver()
    world.execute(
        "UPDATE drivers SET next_action_at = clock_timestamp() - interval '90 s' WHERE id = :id", id=driver_id
    )
    pool.enqueue(driver_id, new_id())
    pool.until(lambda: len(pool.letters()) == 1)
    pool.until(lambda: count_registered(pool.client)[queue_role(QUEUE)] == 1)

    # When they list
    code, text = run(capsys, "queues", "--json")
    shown = {one["queue"]: one for one in json.loads(text)["queues"]}["drivers"]
    assert (code, shown["waiting"], shown["dead"], shown["listeners"]) == (0, 0, 1, 1)
    assert shown["rowsDue"] >= 1
    assert shown["oldestSeconds"] >= 90
    code, text = run(capsys, "queues", "--once")
    assert (code, "No worker consumes instant" in text) == (0, True), text
    code, text = run(capsys, "dead", "list")
    assert (code, "RuntimeError: no luck" in text, "1 of 2" in text) == (0, True, True), text

    # And retry, the actor does its work and no letter is left
    pool.actor.fails = False
    [letter] = pool.letters()
    assert run(capsys, "dead", "retry", letter.id)[0] == 0
    pool.until(lambda: len(pool.actor.received) == 2)
    assert run(capsys, "dead", "retry", letter.id)[0] == 1
    payout_ids = world.accepted()
    world.execute("UPDATE payouts SET held_reason = 'test' WHERE id = ANY(:ids)", ids=payout_ids)
    code, text = run(capsys, "dead", "list", "--json")
    shown = json.loads(text)
    assert (code, shown["database"], shown["letters"]) == (0, "ok", [])
    assert {one["kind"]: one["count"] > 0 for one in shown["rows"]}["held"], text
    assert "ovnpay payouts resolve" in run(capsys, "dead", "list")[1]
    assert run(capsys, "dead", "retry", "--queue", "nonesuch")[0] == 2
    assert run(capsys, "dead", "retry")[0] == 2


def test_commands_report_an_unreachable_redis_or_database(
    settings: Settings, reachable: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And show what the other one has."""
    monkeypatch.setenv("OVNPAY_REDIS_URL", "redis://127.0.0.1:9/0")
    code, text = run(capsys, "queues", "--once")
    assert (code, "Redis is unreachable" in text, "The database is unreachable" in text) == (0, True, False), text
    code, text = run(capsys, "dead", "list")
    assert (code, "Redis is unreachable" in text, "The database is unreachable" in text) == (2, True, False), text
    monkeypatch.setenv("OVNPAY_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("OVNPAY_DATABASE_URL", "postgresql://none@127.0.0.1:9/none")
    code, text = run(capsys, "queues", "--once")
    assert (code, "Redis is unreachable" in text, "The database is unreachable" in text) == (0, False, True), text
    monkeypatch.setenv("OVNPAY_REDIS_URL", "redis://127.0.0.1:9/0")
    assert run(capsys, "queues", "--once")[0] == 2
