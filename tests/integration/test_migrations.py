"""Migrations create exactly the tables of the models, and upgrade databases with rows."""

import inspect

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from shared.platform.database import DatabaseNotReady, wait_for_database
from shared.schema import migrations
from shared.schema.tables import Base

REVISIONS = sorted(path.name[:4] for path in (migrations.HERE / "versions").glob("[0-9]*.py"))


def test_migrated_tables_match_the_models(empty: sa.Engine) -> None:
    """From an empty database to head; a second run does nothing."""
    assert migrations.upgrade_database(empty) == REVISIONS
    assert migrations.upgrade_database(empty) == []
    with empty.connect() as connection:
        assert migrations.current_revision(connection) == migrations.HEAD_REVISION
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_old_database_is_upgraded_with_its_rows(empty: sa.Engine) -> None:
    """0002 fills its counters from existing rows and gives keys a creator."""
    migrations.upgrade_database(empty, "0001")
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
    assert migrations.upgrade_database(empty) == REVISIONS[1:]
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


def test_head_revision_is_the_newest_file() -> None:
    script = migrations._script()
    assert script.get_heads() == [migrations.HEAD_REVISION]  # type: ignore[attr-defined]


def test_startup_waits_for_the_revision_and_names_the_command_that_is_missing(empty: sa.Engine) -> None:
    migrations.upgrade_database(empty)
    wait_for_database(empty, revision=migrations.HEAD_REVISION, timeout_seconds=5)
    with pytest.raises(DatabaseNotReady, match="ovnpay migrate"):
        wait_for_database(empty, revision="9999", timeout_seconds=0.1)


def test_process_of_the_previous_release_starts_after_the_migration(empty: sa.Engine) -> None:
    """A process of the previous release that restarts during a rollout must not wait forever."""
    # Given a database that a later release has migrated
    migrations.upgrade_database(empty)
    with empty.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9000'"))
        found = migrations.recorded_revision(connection)
    # When a process of this release starts, then it is ready
    wait_for_database(empty, revision=migrations.HEAD_REVISION, timeout_seconds=5)
    assert migrations.is_compatible_revision(found)
    # And one of a later release than the database's does not
    assert not migrations.is_compatible_revision("0001")
    assert not migrations.is_compatible_revision(None)


def test_every_table_has_a_docstring() -> None:
    for mapper in Base.registry.mappers:
        assert (inspect.getdoc(mapper.class_) or "").strip(), mapper
