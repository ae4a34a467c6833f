"""Queues and dead letters: what fails is seen, comes back only when it is asked for, and is never lost on the way."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator

import dramatiq
import pytest

from shared.cli.main import app
from shared.platform import dead_letters
from shared.platform.ids import new_id
from shared.platform.queue_statuses import load_queue_statuses
from shared.platform.settings import Settings
from shared.platform.task_queue import NAMESPACE, REGISTER_DRIVERS, TaskBroker, build_messages, make_broker
from tests.support.polling import until
from tests.support.world import World

KEY = f"{NAMESPACE}:{REGISTER_DRIVERS.queue}"


class Actor:
    """Fails for as long as it is told to; remembers what it was rung for."""

    def __init__(self) -> None:
        self.fails = True
        self.heard: list[list[str]] = []
        self.lock = threading.Lock()

    def __call__(self, texts: list[str]) -> None:
        with self.lock:
            self.heard.append(texts)
        if self.fails:
            raise RuntimeError("no luck with dora@drivers.example\nand more that is nobody's business")


class Pool:
    """A real worker with that actor, on a real broker."""

    def __init__(self, settings: Settings) -> None:
        self.actor = Actor()
        self.broker: TaskBroker = make_broker(settings)
        self.client = self.broker.client
        for key in self.client.keys(f"{KEY}*"):
            self.client.delete(key)

        def perform(texts: list[str]) -> None:
            self.actor(texts)

        dramatiq.actor(actor_name=REGISTER_DRIVERS.actor, queue_name=REGISTER_DRIVERS.queue)(perform)
        self.worker = dramatiq.Worker(self.broker, worker_threads=2)
        self.worker.start()

    def enqueue(self, *ids: uuid.UUID) -> None:
        """Rings for these rows."""
        for message in build_messages(REGISTER_DRIVERS, ids):
            self.broker.enqueue(message)

    def letters(self) -> list[dead_letters.DeadLetter]:
        """What is dead."""
        return dead_letters.load_dead_letters(self.client, KEY)

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits for it."""
        until(condition, "the condition", 10, pause_seconds=0.01)


@pytest.fixture
def pool(settings: Settings) -> Iterator[Pool]:
    """One that begins with an empty queue."""
    pool = Pool(settings)
    yield pool
    pool.worker.stop()
    pool.broker.close()


def test_a_message_that_fails_is_kept_and_does_not_come_back(pool: Pool) -> None:
    """However often the tick rings for the same rows: one letter, which counts, and shows no personal data."""
    ids = [new_id(), new_id()]
    for times in (1, 2, 3):
        pool.enqueue(*ids)
        pool.until(lambda times=times: [one.times for one in pool.letters()] == [times])  # type: ignore[misc]
    [letter] = pool.letters()
    assert (letter.actor, letter.row_ids) == (REGISTER_DRIVERS.actor, ids)
    assert letter.error == "RuntimeError: no luck with …"
    assert letter.first_failed_at < letter.failed_at
    assert len(pool.actor.heard) == 3
    [depth] = [one for one in load_queue_statuses(pool.client) if one.queue == REGISTER_DRIVERS.queue]
    assert depth == (REGISTER_DRIVERS.queue, 0, 0, 1, 1)


def test_a_letter_that_is_retried_is_gone_and_its_rows_are_rung_for_once(pool: Pool) -> None:
    """By two operators at once as well; and one that fails again is the same letter again."""
    pool.enqueue(new_id())
    pool.until(lambda: len(pool.letters()) == 1)
    [letter] = pool.letters()
    assert dead_letters.retry_dead_letter(pool.client, KEY, letter.id)
    pool.until(lambda: [one.times for one in pool.letters()] == [2])
    assert [one.id for one in pool.letters()] == [letter.id]
    pool.actor.fails = False
    assert [dead_letters.retry_dead_letter(pool.client, KEY, letter.id) for _ in range(2)] == [True, False]
    pool.until(lambda: len(pool.actor.heard) == 3)
    pool.until(lambda: pool.client.hlen(f"{KEY}.msgs") == 0)
    assert pool.letters() == []
    assert pool.client.llen(KEY) == 0


def test_only_the_newest_letters_of_a_queue_are_kept(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad release must not fill Redis, where every doorbell lies."""
    monkeypatch.setattr(dead_letters, "DEAD_LETTERS_MAX", 3)
    ids = [new_id() for _ in range(5)]
    for number, row_id in enumerate(ids, 1):
        pool.enqueue(row_id)
        pool.until(lambda row_id=row_id: row_id in [one.row_ids[0] for one in pool.letters()])  # type: ignore[misc]
        assert len(pool.letters()) == min(number, 3)
    assert [one.row_ids for one in pool.letters()] == [[ids[4]], [ids[3]], [ids[2]]]
    assert pool.client.hlen(f"{KEY}.XQ.msgs") == 3


def test_a_message_for_an_actor_that_this_version_does_not_know_is_kept(pool: Pool) -> None:
    """As in a rolling release: the newer scheduler rings, the older worker hears."""
    pool.broker.enqueue(dramatiq.Message(REGISTER_DRIVERS.queue, "drivers.unheard_of", ([new_id().hex],), {}, {}))
    pool.until(lambda: [one.actor for one in pool.letters()] == ["drivers.unheard_of"])
    assert (pool.letters()[0].error or "").startswith("ActorNotFound")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    """The command's exit code, and what it says."""
    code = 0
    try:
        app(words, standalone_mode=False)
    except SystemExit as ended:
        code = int(str(ended.code))
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.fixture
def reachable(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands find Postgres and Redis."""
    monkeypatch.setenv("OVNPAY_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("OVNPAY_REDIS_URL", settings.redis_url)


def test_operators_see_the_queues_and_the_dead_and_ring_again(
    pool: Pool, world: World, reachable: None, capsys: pytest.CaptureFixture[str]
) -> None:
    """Given a driver that is due and whose message failed, the letter says that one row still waits."""
    driver_id = world.driver()
    world.execute(
        "UPDATE drivers SET next_action_at = clock_timestamp() - interval '90 s' WHERE id = :id", id=driver_id
    )
    pool.enqueue(driver_id, new_id())
    pool.until(lambda: len(pool.letters()) == 1)

    # When they look
    code, text = run(capsys, "queues", "--json")
    shown = {one["queue"]: one for one in json.loads(text)["queues"]}["drivers"]
    assert (code, shown["waiting"], shown["dead"], shown["listeners"]) == (0, 0, 1, 1)
    assert shown["rowsDue"] >= 1
    assert shown["oldestSeconds"] >= 90
    code, text = run(capsys, "queues", "--once")
    assert (code, "No worker consumes instant" in text) == (0, True), text
    code, text = run(capsys, "dead", "list")
    assert (code, "RuntimeError: no luck" in text, "1 of 2" in text) == (0, True, True), text

    # And ring again, the actor does its work and nothing is dead
    pool.actor.fails = False
    [letter] = pool.letters()
    assert run(capsys, "dead", "retry", letter.id)[0] == 0
    pool.until(lambda: len(pool.actor.heard) == 2)
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


def test_they_are_told_when_redis_or_the_database_is_away(
    settings: Settings, reachable: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And shown what the other one knows."""
    monkeypatch.setenv("OVNPAY_REDIS_URL", "redis://127.0.0.1:9/0")
    code, text = run(capsys, "queues", "--once")
    assert (code, "Redis is unreachable" in text, "The database is unreachable" in text) == (0, True, False), text
    code, text = run(capsys, "dead", "list")
    assert (code, "Redis is unreachable" in text, "The database is unreachable" in text) == (2, True, False), text
    monkeypatch.setenv("OVNPAY_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("OVNPAY_DATABASE_URL", "postgresql://nobody@127.0.0.1:9/none")
    code, text = run(capsys, "queues", "--once")
    assert (code, "Redis is unreachable" in text, "The database is unreachable" in text) == (0, False, True), text
    monkeypatch.setenv("OVNPAY_REDIS_URL", "redis://127.0.0.1:9/0")
    assert run(capsys, "queues", "--once")[0] == 2
