"""Migrations: Alembic, configured and driven from code.

Every migration runs with a lock timeout, so that it gives up rather than queue up the whole service behind it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from shared.schema.migrations import grants

HERE = Path(__file__).parent
LOCK_TIMEOUT = "4s"
STATEMENT_TIMEOUT = "60s"
ADVISORY_LOCK = 0x0F_4E_5041  # only one `ovnpay migrate` at a time
HEAD_REVISION = "0012"
"""The newest revision; services wait for it. A test compares it with the files."""


@cache
def _script() -> "object":
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def current_revision(connection: sa.Connection) -> str | None:
    """The revision that the database is at; None for an empty one."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)


def recorded_revision(connection: sa.Connection) -> str | None:
    """The revision that a database says it is at, in one question; raises where it was never migrated."""
    revision: str | None = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
    return revision


def is_compatible_revision(revision: str | None) -> bool:
    """Whether this code can work with a database at `revision`: at ours, or at a later one, for migrations are safe
    while older processes run.
    """
    return revision is not None and revision >= HEAD_REVISION


def upgrade_database(engine: sa.Engine, revision: str = HEAD_REVISION) -> list[str]:
    """Brings the database to `revision`, and the roles to what `grants` says: each revision in its own transaction,
    so that none holds the locks of another. Returns the revisions applied, in order.

    Raises:
        sqlalchemy.exc.OperationalError: a lock was not free in time; the revisions before are there, try again.

    """
    return upgrade_with_grants(engine, revision)[0]


def upgrade_with_grants(engine: sa.Engine, revision: str = HEAD_REVISION) -> tuple[list[str], str | None]:
    """The same; also returns what a person has to do before the roles can be told apart, None: nothing."""
    applied: list[str] = []
    while True:
        with _transaction(engine) as connection:
            step = [] if current_revision(connection) == revision else _upgrade(connection, revision)
            applied += step
            advice = grants.apply_grants(connection)
        if not step:
            return applied, advice


@contextmanager
def _transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.begin() as connection:
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.execute(sa.text(f"SET LOCAL statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": ADVISORY_LOCK})
        yield connection


def _upgrade(connection: sa.Connection, revision: str) -> list[str]:
    """Takes the next step towards `revision`; its name, or nothing where there is none."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = _script()
    assert isinstance(script, ScriptDirectory)
    applied: list[str] = []

    def steps(heads: tuple[str, ...], context: MigrationContext) -> list[object]:
        found = script._upgrade_revs(revision, heads)[:1]  # type: ignore[arg-type]
        applied.extend(step.revision.revision for step in found)
        return list(found)

    context = MigrationContext.configure(connection, opts={"fn": steps})
    with Operations.context(context):
        context.run_migrations()
    return applied
