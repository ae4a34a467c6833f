"""The exporter reports the state of the database and of Redis; what it can't read is missing."""

import uuid
from collections.abc import Iterator

import msgspec
import pytest
import redis
import sqlalchemy as sa
from prometheus_client import REGISTRY

from shared.payouts.lifecycle import Move, transition_payouts
from shared.platform.database import make_engine
from shared.platform.settings import Settings
from shared.platform.task_queue import SUBMIT_PAYOUTS, TaskSender, redis_client
from shared.reporting.exporter import snapshot
from shared.reporting.exporter.snapshot import Exporter
from shared.schema.payouts import PayoutStatus, Rail
from tests.support.polling import until
from tests.support.world import World

Metrics = dict[tuple[str, ...], float]


@pytest.fixture
def client(settings: Settings) -> Iterator["redis.Redis"]:
    """A client of the session's Valkey."""
    client = redis_client(settings, timeout_seconds=1.0)
    yield client
    client.close()


TEN_YEARS_SECONDS = 3_650 * 86_400


def read_metrics(engine: sa.Engine, client: "redis.Redis") -> Metrics:
    """Return new values by name and label values."""
    samples = [sample for metric in Exporter(engine, client).collect() for sample in metric.samples]
    return {(sample.name, *sample.labels.values()): sample.value for sample in samples}


def test_waiting_work_is_counted_with_its_age(world: World, engine: sa.Engine, client: "redis.Redis") -> None:
    before = read_metrics(engine, client)
    # Given a payout that has been queued for ten years, longer than any other test's, a submission with an unknown
    # outcome, and a batch half a minute past its scheduled time
    [queued] = world.queued()
    world.execute("UPDATE payouts SET updated_at = updated_at - interval '10 years' WHERE id = :id", id=queued)
    [_], leased = world.leased_submission()
    unknown = "UPDATE submissions SET status = 'unknown', created_at = now() - interval '2 hours' WHERE id = :id"
    world.execute(unknown, id=leased.id)
    batch, _ = world.batch(1_000)
    world.execute(
        "UPDATE batches SET scheduled_for = now() - interval '30 s', next_action_at = now() WHERE id = :id", id=batch.id
    )
    # When metrics are read, then each is counted with its age
    after = read_metrics(engine, client)
    assert after["ovnpay_payouts", "queued"] == before["ovnpay_payouts", "queued"] + 1
    assert after["ovnpay_payouts_oldest_age_seconds", "queued", "standard"] >= TEN_YEARS_SECONDS
    assert after["ovnpay_submissions", "unknown"] == before["ovnpay_submissions", "unknown"] + 1
    assert after["ovnpay_submissions_oldest_age_seconds", "unknown"] >= 7_200
    assert after["ovnpay_batches_overdue",] == before["ovnpay_batches_overdue",] + 1
    assert after["ovnpay_batches_overdue_age_seconds",] >= 30
    assert after["ovnpay_ledger_imbalance_cents",] == 0
    assert {name[1]: up for name, up in after.items() if name[0] == "ovnpay_exporter_collector_up"} == dict.fromkeys(
        [*snapshot.DATABASE_COLLECTORS, *snapshot.REDIS_COLLECTORS], 1.0
    )
    # When the wallet is paused, then its payout does not count as late
    values = {"id": uuid.uuid4(), "wallet": world.wallet_id}
    world.execute(
        "INSERT INTO outgoing_holds (id, kind, wallet_id, reason, placed_by, since) "
        "VALUES (:id, 'paused', :wallet, 'a test', 'test', now())",
        **values,
    )
    paused = read_metrics(engine, client)
    assert paused["ovnpay_outgoing_holds", "paused", "wallet"] == after["ovnpay_outgoing_holds", "paused", "wallet"] + 1
    assert paused["ovnpay_payouts_oldest_age_seconds", "queued", "standard"] < TEN_YEARS_SECONDS
    world.execute("UPDATE outgoing_holds SET lifted_at = now() WHERE id = :id", id=values["id"])
    world.execute("UPDATE batches SET status = 'canceled', next_action_at = NULL WHERE id = :id", id=batch.id)


def test_oldest_instant_payout_is_found_among_many_others(
    world: World, engine: sa.Engine, client: "redis.Redis"
) -> None:
    # Given more standard payouts at the provider than are sampled, and an instant one for an hour
    world.leased_submission(count=150)
    [instant] = world.accepted(rail=Rail.INSTANT)
    world.execute(
        "UPDATE payouts SET updated_at = now() - interval '1 hour', next_action_at = now() + interval '1 hour' "
        "WHERE id = :id",
        id=instant,
    )
    # Then it is the oldest of its rail
    assert read_metrics(engine, client)["ovnpay_payouts_oldest_age_seconds", "processing", "instant"] >= 3_600
    assert read_metrics(engine, client)["ovnpay_payouts_oldest_age_seconds", "processing", "standard"] > 0


def test_waiting_messages_are_counted(settings: Settings, engine: sa.Engine, client: "redis.Redis") -> None:
    depth = ("ovnpay_queue_depth", "payouts")
    before = read_metrics(engine, client)[depth]
    task_sender = TaskSender(settings)
    task_sender.enqueue(SUBMIT_PAYOUTS, [uuid.uuid4()])
    task_sender.close()
    until(lambda: read_metrics(engine, client)[depth] == before + 1, "the message is counted")


def test_without_servers_only_failed_collectors_are_reported(settings: Settings) -> None:
    # Given an unreachable database and Redis
    engine = make_engine(settings, "tests", url="postgresql://none@127.0.0.1:9/none")
    client = redis_client(msgspec.structs.replace(settings, redis_url="redis://127.0.0.1:9/0"), timeout_seconds=1.0)
    # When metrics are read, then every collector is down and no other value is reported
    found = read_metrics(engine, client)
    assert {name[0] for name in found} == {"ovnpay_exporter_collector_up"}
    assert set(found.values()) == {0.0}
    assert len(found) == len(snapshot.DATABASE_COLLECTORS) + len(snapshot.REDIS_COLLECTORS)


def test_reading_is_cached_for_some_seconds(world: World, engine: sa.Engine, client: "redis.Redis") -> None:
    exporter = Exporter(engine, client)
    first = exporter.collect()
    world.queued()
    assert exporter.collect() is first


def test_status_changes_count_when_they_are_committed(world: World) -> None:
    labels = {"from_status": "queued", "to_status": "canceled"}

    def counted() -> float:
        return REGISTRY.get_sample_value("ovnpay_payout_transitions_total", labels) or 0.0

    def cancel(connection: sa.Connection) -> None:
        moves = [Move(payout_id, "test") for payout_id in payout_ids]
        transition_payouts(connection, moves, PayoutStatus.QUEUED, PayoutStatus.CANCELED, world.clock.now())

    payout_ids, before = world.queued(3), counted()
    # When the transaction or its savepoint is rolled back, then nothing counts
    with world.engine.connect() as connection:
        cancel(connection)
        connection.rollback()
        with connection.begin(), connection.begin_nested() as part:
            cancel(connection)
            part.rollback()
    assert counted() == before
    # When it is committed, then each payout counts
    with world.engine.begin() as connection:
        cancel(connection)
    assert counted() == before + 3
