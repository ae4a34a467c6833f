"""Retention deletes or masks what is over, keeps the rest, and old events can't be changed otherwise."""

import json
import threading
import uuid
from datetime import timedelta

import msgspec
import psycopg
import pytest
import sqlalchemy as sa

from deploy.local.postgres import EmbeddedPostgres
from scheduler.jobs import Jobs
from shared.cli.main import app
from shared.inbox.webhook_log import WebhookLogRow, webhook_log_payload
from shared.operations import retention
from shared.platform.database import make_engine
from shared.platform.ids import first_id_at
from shared.platform.settings import Settings, SettingsError
from shared.platform.task_queue import TaskSender
from tests.support.world import World

DRIVER = {
    "name": "Dora",
    "email": "dora@drivers.example",
    "phone": None,
    "status": "active",
    "bankAccountLast4": "6789",
}
HIDDEN = DRIVER | {"name": "…", "email": "…", "phone": "…", "bankAccountLast4": "…"}


def event(world: World, type_: str, days_ago: float) -> uuid.UUID:
    """Insert a customer event of that age."""
    at = world.clock.now() - timedelta(days=days_ago)
    event_id = uuid.UUID(int=first_id_at(at).int | uuid.uuid4().int & ((1 << 64) - 1))
    world.execute(
        """
        INSERT INTO customer_events (id, wallet_id, type, sequence, data, created_at)
        VALUES (:id, :wallet, :type, 0, CAST(:data AS jsonb), :at)
        """,
        id=event_id,
        wallet=world.wallet_id,
        type=type_,
        data=json.dumps(DRIVER),
        at=at,
    )
    return event_id


def webhook(world: World, status: str, days_ago: float) -> uuid.UUID:
    """Insert a provider event of that age."""
    at = world.clock.now() - timedelta(days=days_ago)
    event_id = uuid.UUID(int=first_id_at(at).int | uuid.uuid4().int & ((1 << 64) - 1))
    world.execute(
        """
        INSERT INTO provider_events (id, event_key, body_sha256, type, wallet_id, body, status, received_at)
        VALUES (:id, :key, '', 'payment.completed', :wallet, '{"id": 1}', :status, :at)
        """,
        id=event_id,
        key=str(event_id),
        wallet=world.wallet_id,
        status=status,
        at=at,
    )
    return event_id


def test_expired_data_is_deleted_or_masked_and_the_rest_stays(
    world: World, settings: Settings, postgres: EmbeddedPostgres
) -> None:
    """By the services' role, in slices of two rows, by three schedulers at once."""
    old, new, other = (
        event(world, "driver.verified", 36),
        event(world, "driver.verified", 34),
        event(world, "balance.low", 36),
    )
    bodies = [webhook(world, "applied", 401) for _ in range(5)] + [webhook(world, "ignored", 401)]
    kept = [webhook(world, "applied", 399), webhook(world, "mismatch", 401), webhook(world, "orphan", 401)]
    service = make_engine(settings, "tests", url=postgres.service_url)
    task_sender = TaskSender(settings)
    jobs = Jobs(settings, service, task_sender, world.clock)
    jobs.rows_per_deletion = 2  # type: ignore[misc]
    threads = [threading.Thread(target=jobs.apply_retention) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    task_sender.close()
    service.dispose()

    data = dict(world.rows("SELECT id, data FROM customer_events WHERE id = ANY(:ids)", ids=[old, new, other]))
    assert data == {old: HIDDEN, new: DRIVER, other: DRIVER}
    left = dict(world.rows("SELECT id, body FROM provider_events WHERE id = ANY(:ids)", ids=[*bodies, *kept]))
    assert {left[one] for one in bodies} == {b""}
    assert {left[one] for one in kept} == {b'{"id": 1}'}
    shown = webhook_log_payload(
        WebhookLogRow(bodies[0], "payment.completed", b"", "applied", None, None, world.clock.now(), None, False)
    )
    assert shown["payload"] == {}
    marks = dict(world.rows("SELECT name, forgotten FROM retention_marks"))
    assert set(marks) <= {rule.name for rule in retention.RETENTION_RULES}
    assert int(str(marks["provider_webhook_bodies"])) >= 6

    with world.engine.connect() as connection:
        statuses = {one.rule.name: one for one in retention.load_rule_statuses(connection, settings)}
    masking = statuses["personal_data_in_events"]
    assert masking.forgotten >= 1
    assert masking.next_at is not None
    assert masking.next_at > world.clock.now()


def test_one_scheduler_at_a_time_applies_a_rule(world: World, settings: Settings) -> None:
    [rule] = [one for one in retention.RETENTION_RULES if one.name == "sessions"]
    user = "SELECT id FROM users WHERE organization_id = :id"
    [(user_id,)] = world.rows(user, id=world.organization_id)
    for number, days in enumerate((31, 31, 29)):
        world.execute(
            """
            INSERT INTO sessions (id, user_id, token_hash, created_at, last_seen_at, expires_at)
            VALUES (gen_random_uuid(), :user, :hash, now(), now(), :at)
            """,
            user=user_id,
            hash=uuid.uuid4().bytes + bytes([number]),
            at=world.clock.now() - timedelta(days=days),
        )
    now = world.clock.now()
    with world.engine.begin() as first, world.engine.begin() as second:
        assert retention.apply_retention_rule(first, rule, settings, now, limit=2) == (2, None, True)
        assert retention.apply_retention_rule(second, rule, settings, now, limit=2) == (0, None, False)
    assert len(world.rows("SELECT 1 FROM sessions WHERE user_id = :id", id=user_id)) == 1


@pytest.mark.parametrize(
    ("days", "change"),
    [
        (29, "data = data || '{masked}'"),
        (40, 'data = data || \'{{"status": "x"}}\''),
        (40, "data = data || '{masked}', created_at = now()"),
        (40, "type = 'payout.failed'"),
    ],
)
def test_customer_event_can_only_be_masked_and_only_when_it_is_old(world: World, days: float, change: str) -> None:
    """Even by the tables' owner."""
    event_id = event(world, "driver.verified", days)
    statement = f"UPDATE customer_events SET {change.format(masked=retention._MASKED)} WHERE id = :id"
    with pytest.raises(sa.exc.IntegrityError) as refused:
        world.execute(statement, id=event_id)
    assert isinstance(refused.value.orig, psycopg.errors.RestrictViolation)


def test_command_shows_rules_with_configured_times_and_reasons(
    settings: Settings, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OVNPAY_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("OVNPAY_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("OVNPAY_KEEP_BODIES_DAYS", "500")
    app(["retention", "--json"], standalone_mode=False)
    rules = {one["name"]: one for one in json.loads(capsys.readouterr().out)["rules"]}
    assert rules["provider_webhook_bodies"]["keptSeconds"] == 500 * 86_400
    assert rules["idempotency_keys"]["keptSeconds"] == 48 * 3600
    app(["retention"], standalone_mode=False)
    text = capsys.readouterr().out
    assert "500 days" in text
    assert "the ledger is never edited" in text


def test_retention_has_minimum_times(settings: Settings) -> None:
    """Banks return money for two months, and events can be redelivered for one."""
    for name in ("keep_bodies_days", "keep_personal_data_days"):
        with pytest.raises(SettingsError, match="must be"):
            msgspec.structs.replace(settings, **{name: 30})
