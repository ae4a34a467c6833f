"""The database roles: services can't change the ledger, readers can neither write nor see hashes.

Every statement runs in a real database as the role concerned. The other suites run their services under the service
role, which shows that its privileges are sufficient.
"""

from collections.abc import Iterator

import msgspec
import psycopg
import pytest
import sqlalchemy as sa
from structlog.testing import capture_logs

from deploy.local.postgres import EmbeddedPostgres
from shared.cli.operator.installation import migrate_database
from shared.controls.invariants import INVARIANTS, check_invariants
from shared.operations import startup
from shared.platform.database import make_engine
from shared.platform.settings import Settings
from shared.schema import migrations
from shared.schema.migrations import grants
from shared.schema.tables import Base
from tests.support.world import World

SECRET = "f3a1c97be2d04586" * 2
SECRET_WORDS = ("hash", "secret", "sealed", "password", "pepper", "token_")
NO_SECRETS = {
    "submissions.lease_token",
    "drivers.lease_token",
    "topups.lease_token",
    "provider_events.body_sha256",
    "webhook_endpoints.previous_secret_valid_until",
}


@pytest.fixture
def service(settings: Settings, postgres: EmbeddedPostgres, engine: sa.Engine) -> Iterator[sa.Engine]:
    """Connections as the service role."""
    made = make_engine(settings, "tests", url=postgres.service_url)
    yield made
    made.dispose()


@pytest.fixture
def reader(settings: Settings, postgres: EmbeddedPostgres, engine: sa.Engine) -> Iterator[sa.Engine]:
    """Connections as a member of the reader role."""
    with psycopg.connect(postgres.admin_url, autocommit=True) as admin:
        admin.execute("DROP ROLE IF EXISTS a_reader")
        admin.execute("CREATE ROLE a_reader LOGIN PASSWORD 'x' IN ROLE ovnpay_reader")
    url = sa.make_url(postgres.url).set(username="a_reader", password="x")
    made = make_engine(settings, "tests", url=url.render_as_string(hide_password=False))
    yield made
    made.dispose()


def refused(engine: sa.Engine, statement: str) -> bool:
    """Whether the role lacks the privilege; other errors are raised."""
    with engine.connect() as connection:
        try:
            connection.execute(sa.text(statement))
        except sa.exc.ProgrammingError as error:
            if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
                raise
            return True
        finally:
            connection.rollback()
    return False


def test_every_table_has_grants(engine: sa.Engine) -> None:
    """The grants, the models and the database have the same tables."""
    assert set(grants.TABLE_GRANTS) == {*Base.metadata.tables, "alembic_version"}
    with engine.connect() as connection:
        assert set(grants.TABLE_GRANTS) == set(sa.inspect(connection).get_table_names())


def test_tables_are_append_only_by_trigger_and_by_grant(engine: sa.Engine) -> None:
    with engine.connect() as connection:
        by_trigger = connection.scalars(
            sa.text("SELECT tgrelid::regclass::text FROM pg_trigger WHERE tgfoid = 'refuse_change'::regproc")
        )
        assert {"transfers", "payout_transitions", "customer_events"} <= set(grants.APPEND_ONLY_TABLES)
        assert set(by_trigger) == set(grants.APPEND_ONLY_TABLES)


def test_database_has_exactly_these_grants(engine: sa.Engine) -> None:
    """No earlier grants are left, and no other role has any."""
    with engine.connect() as connection:
        found = connection.execute(
            sa.text("""
                SELECT relname, coalesce(pg_roles.rolname, 'PUBLIC'), privilege_type
                FROM pg_class, aclexplode(relacl) LEFT JOIN pg_roles ON pg_roles.oid = grantee
                WHERE relnamespace = 'public'::regnamespace AND relname = ANY(:tables) AND grantee <> relowner
            """),
            {"tables": list(grants.TABLE_GRANTS)},
        )
        wanted = {
            (table, grants.SERVICE_ROLE, privilege)
            for table, grant in grants.TABLE_GRANTS.items()
            for privilege in grant.service
        } | {(table, grants.READER_ROLE, "SELECT") for table, grant in grants.TABLE_GRANTS.items() if not grant.hidden}
        assert {tuple(row) for row in found} == wanted


@pytest.mark.parametrize("table", grants.APPEND_ONLY_TABLES)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {table} SET {column} = {column} WHERE false",
        "DELETE FROM {table} WHERE false",
        "TRUNCATE {table}",
        "ALTER TABLE {table} DISABLE TRIGGER ALL",
        "DROP TRIGGER append_only ON {table}",
        "DROP TABLE {table}",
        "ALTER TABLE {table} ADD COLUMN x int",
    ],
)
def test_services_can_neither_change_append_only_tables_nor_drop_their_triggers(
    service: sa.Engine, table: str, statement: str
) -> None:
    column = next(iter(Base.metadata.tables[table].columns)).name
    assert refused(service, statement.format(table=table, column=column))


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE theirs (id int)",
        "CREATE FUNCTION theirs() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE SCHEMA theirs",
        "CREATE ROLE theirs",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
        "ALTER FUNCTION refuse_change() OWNER TO ovnpay_app",
        "CREATE TRIGGER theirs BEFORE INSERT ON transfers EXECUTE FUNCTION refuse_change()",
        "SET session_replication_role = replica",  # would switch triggers off
        "SET ROLE ovnpay",
        "UPDATE prices SET flat_cents = 0",
        "UPDATE alembic_version SET version_num = '0001'",
        "TRUNCATE sessions",
        "DELETE FROM payouts",
    ],
)
def test_services_can_not_gain_privileges(service: sa.Engine, statement: str) -> None:
    """No tables, functions or roles of their own, no changes of prices, no mass deletion."""
    assert refused(service, statement)


def test_readers_see_everything_but_credentials_and_change_nothing(reader: sa.Engine, world: World) -> None:
    """Readers can check every invariant except the one that reads stored responses."""
    readable = [invariant for invariant in INVARIANTS if invariant.name != "answers_have_rows"]
    assert len(check_invariants(reader, readable, [world.wallet_id])) == len(readable)
    with reader.connect() as connection:
        for table, grant in grants.TABLE_GRANTS.items():
            seen = [
                column
                for (column,) in connection.execute(
                    sa.text("""
                        SELECT attname FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attnum > 0
                               AND has_column_privilege(attrelid, attnum, 'SELECT')
                    """),
                    {"table": table},
                )
            ]
            connection.execute(sa.text(f"SELECT {', '.join(seen)} FROM {table} LIMIT 1"))
            if table in Base.metadata.tables:
                assert {*seen, *grant.hidden} == set(Base.metadata.tables[table].columns.keys())
            secret = {name for name in seen if any(word in name for word in SECRET_WORDS)}
            assert {f"{table}.{name}" for name in secret} <= NO_SECRETS
    for table, grant in grants.TABLE_GRANTS.items():
        for column in grant.hidden:
            assert refused(reader, f"SELECT {column} FROM {table}")
        if grant.hidden:
            assert refused(reader, f"SELECT * FROM {table}")
        assert refused(reader, f"DELETE FROM {table}")
        assert refused(reader, f"INSERT INTO {table} DEFAULT VALUES")
    assert refused(reader, "UPDATE payouts SET held_reason = NULL")
    assert refused(reader, "CREATE TABLE theirs (id int)")


def test_next_migration_revokes_manual_grants(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text("GRANT ALL ON transfers TO ovnpay_service, ovnpay_reader, PUBLIC"))
    assert migrations.upgrade_with_grants(engine) == ([], None)
    test_database_has_exactly_these_grants(engine)


def test_missing_roles_that_can_not_be_created_are_reported_with_the_command(
    postgres: EmbeddedPostgres, engine: sa.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tables are migrated all the same; a role with CREATEROLE creates the missing roles."""
    monkeypatch.setattr(grants, "SERVICE_ROLE", "ovnpay_service_to_come")
    with engine.begin() as connection:
        assert grants.apply_grants(connection) == grants.ROLES_MISSING
        assert connection.scalar(sa.text("SELECT 1")) == 1
    # With CREATEROLE
    with psycopg.connect(postgres.admin_url, autocommit=True) as admin:
        admin.execute("ALTER ROLE ovnpay CREATEROLE")
        try:
            with engine.connect() as connection:
                assert grants.apply_grants(connection) is None
                connection.rollback()
        finally:
            admin.execute("ALTER ROLE ovnpay NOCREATEROLE")


def test_service_that_could_change_the_ledger_logs_a_warning_in_production(
    settings: Settings, engine: sa.Engine, service: sa.Engine
) -> None:
    """For a connection as the owner, not as the service role."""
    production = msgspec.structs.replace(
        settings,
        environment="production",
        redis_url=f"redis://:{SECRET}@127.0.0.1:9/0",
        key_pepper=SECRET,
        paystream_webhook_secret=SECRET,
        paystream_test_key=f"psk_test_{SECRET}",
        paystream_live_key=f"psk_live_{SECRET}",
    )
    with capture_logs() as logs:
        startup.prepare_database(service, production)
        startup.prepare_database(engine, settings)
    assert logs == []
    with capture_logs() as logs:
        startup.prepare_database(engine, production)
    assert [(line["event"], line["can_change"]) for line in logs] == [
        ("database.role_too_powerful", sorted(grants.APPEND_ONLY_TABLES))
    ]


@pytest.mark.parametrize(
    ("service_url", "owner_url", "says"),
    [
        ("service_url", "url", ""),
        ("url", "", "the services' role can change the ledger"),
        ("service_url", "", "this role does not own the tables"),
    ],
)
def test_migrate_warns_if_services_and_owner_share_a_role(
    postgres: EmbeddedPostgres,
    engine: sa.Engine,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    service_url: str,
    owner_url: str,
    says: str,
) -> None:
    """No warning with both URLs; a warning with only the owner's, or only the services' URL."""
    monkeypatch.setenv("OVNPAY_DATABASE_URL", getattr(postgres, service_url))
    monkeypatch.setenv("OVNPAY_MIGRATION_DATABASE_URL", getattr(postgres, owner_url) if owner_url else "")
    monkeypatch.setenv("OVNPAY_REDIS_URL", "redis://127.0.0.1:9")
    migrate_database()
    printed = capsys.readouterr()
    assert printed.out == f"nothing to do: at {migrations.HEAD_REVISION}\n"
    assert (says in printed.err) if says else (printed.err == "")


def test_service_role_can_not_migrate(
    postgres: EmbeddedPostgres, empty: sa.Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the setting for the owner's URL, and nothing is changed."""
    monkeypatch.setenv("OVNPAY_DATABASE_URL", postgres.service_url.removesuffix("ovnpay") + str(empty.url.database))
    monkeypatch.setenv("OVNPAY_REDIS_URL", "redis://127.0.0.1:9")
    with pytest.raises(SystemExit):
        migrate_database()
    assert "only the role that owns the tables can migrate" in capsys.readouterr().err
    with empty.connect() as connection:
        assert sa.inspect(connection).get_table_names() == []
