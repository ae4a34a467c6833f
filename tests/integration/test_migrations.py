"""Migrations: they make exactly the tables that the models describe, once."""

import inspect
from collections.abc import Iterator

import msgspec
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from deploy.local.postgres import EmbeddedPostgres
from shared import migrations
from shared.db import DatabaseNotReady, engine_for, wait_until_ready
from shared.models import Base
from shared.settings import Settings


@pytest.fixture
def empty(settings: Settings, postgres: EmbeddedPostgres) -> Iterator[sa.Engine]:
    """An engine on a new, empty database."""
    url = sa.make_url(postgres.url)
    server = engine_for(settings, "tests", isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text("DROP DATABASE IF EXISTS empty WITH (FORCE)"))
        connection.execute(sa.text("CREATE DATABASE empty"))
    server.dispose()
    renamed = url.set(database="empty").render_as_string(hide_password=False)
    engine = engine_for(msgspec.structs.replace(settings, database_url=renamed), "tests")
    yield engine
    engine.dispose()


def test_the_tables_are_those_of_the_models(empty: sa.Engine) -> None:
    """From an empty database to head; a second time there is nothing to do."""
    assert migrations.upgrade(empty) == ["0001", "0002", "0003"]
    assert migrations.upgrade(empty) == []
    with empty.connect() as connection:
        assert migrations.current(connection) == migrations.HEAD
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_an_older_database_is_brought_along_with_its_rows(empty: sa.Engine) -> None:
    """The counters of 0002 are filled from what is there; keys get their creator."""
    migrations.upgrade(empty, "0001")
    with empty.begin() as connection:
        connection.execute(
            sa.text("""
                INSERT INTO organizations (id, name, created_at) VALUES (gen_random_uuid(), 'Old', now());
                INSERT INTO users (id, organization_id, email, password_hash, role, created_at)
                SELECT gen_random_uuid(), id, 'owner@old.example', 'x', 'owner', now() FROM organizations;
                INSERT INTO wallets (id, organization_id, mode, created_at)
                SELECT gen_random_uuid(), id, 'sandbox', now() FROM organizations;
                INSERT INTO api_keys (id, wallet_id, name, prefix, scopes, created_at)
                SELECT gen_random_uuid(), id, 'Old key', 'ovnp_sbox_', '{}', now() FROM wallets;
                INSERT INTO drivers (id, wallet_id, ovn_driver_id, name, email, status, kyc_status,
                                     created_at, updated_at)
                SELECT gen_random_uuid(), id, 'D', 'Dora', 'd@x.example', 'active', 'verified', now(), now()
                FROM wallets;
                INSERT INTO payouts (id, wallet_id, driver_id, amount_cents, fee_cents, rail, status, reserved,
                                     sequence, attempt, requested_at, updated_at)
                SELECT gen_random_uuid(), wallet_id, id, 1000, 250, 'standard', ended.status, false, 1, 1, now(), now()
                FROM drivers, unnest(ARRAY['completed', 'completed', 'failed', 'queued']) AS ended (status);
            """)
        )
    assert migrations.upgrade(empty) == ["0002", "0003"]
    with empty.connect() as connection:
        counts = connection.execute(sa.text("SELECT name, count FROM list_counts WHERE count > 0 ORDER BY name"))
        assert [tuple(row) for row in counts] == [("payouts", 4), ("payouts:completed", 2), ("payouts:failed", 1)]
        driver = connection.execute(
            sa.text("SELECT payout_count, pending_payouts, total_paid_cents FROM drivers")
        ).one()
        assert tuple(driver) == (4, 1, 1500)
        key = connection.execute(
            sa.text("SELECT approval_status, email FROM api_keys JOIN users ON users.id = created_by")
        ).one()
        assert tuple(key) == ("approved", "owner@old.example")


def test_head_is_the_newest_file() -> None:
    """The constant that services wait for is what the folder says."""
    script = migrations._script()
    assert script.get_heads() == [migrations.HEAD]  # type: ignore[attr-defined]


def test_services_wait_for_the_migration_and_say_what_is_missing(empty: sa.Engine) -> None:
    """A sentence that tells the operator what to do."""
    migrations.upgrade(empty)
    wait_until_ready(empty, revision=migrations.HEAD, timeout_seconds=5)
    with pytest.raises(DatabaseNotReady, match="ovnpay migrate"):
        wait_until_ready(empty, revision="9999", timeout_seconds=0.1)


def test_every_table_is_explained() -> None:
    """The models are a data dictionary: each says what its rows are."""
    for mapper in Base.registry.mappers:
        assert (inspect.getdoc(mapper.class_) or "").strip(), mapper
