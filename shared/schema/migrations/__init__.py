"""Migrations: Alembic, configured from code, run by `ovnpay migrate` as the owner of the tables.

Each revision has its own transaction with a lock timeout: it fails rather than block the service behind its lock
request. Revisions are safe while processes of the previous release run.
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
ADVISORY_LOCK = 0x0F_4E_5041
"""Held by each revision's transaction: one `ovnpay migrate` runs at a time."""
HEAD_REVISION = "0012"
"""The newest revision, required by services at startup. A test compares it with the files."""


_REVISION = sa.text("SELECT version_num FROM alembic_version")


@cache
def _script() -> "object":
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def current_revision(connection: sa.Connection) -> str | None:
    """The database's revision; None if it was never migrated."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    revision = connection.scalar(_REVISION)
    return None if revision is None else str(revision)


def recorded_revision(connection: sa.Connection) -> str | None:
    """The database's revision in one query; fails if it was never migrated."""
    revision: str | None = connection.scalar(_REVISION)
    return revision


def is_compatible_revision(revision: str | None) -> bool:
    """Whether this release works with a database at `revision`."""
    return revision is not None and revision >= HEAD_REVISION


def upgrade_database(engine: sa.Engine, revision: str = HEAD_REVISION) -> list[str]:
    """Upgrade the database and apply the grants; returns the applied revisions, in order.

    Raises:
        sqlalchemy.exc.OperationalError: a lock timed out; run it again.
    """
    return upgrade_with_grants(engine, revision)[0]


def upgrade_with_grants(engine: sa.Engine, revision: str = HEAD_REVISION) -> tuple[list[str], str | None]:
    """Like `upgrade_database`; also returns what the operator must do about grants, or None."""
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
    """Apply the next revision; returns it, or nothing if there is none."""
    from alembic.operations import Operations
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    script = _script()
    assert isinstance(script, ScriptDirectory)
    applied: list[str] = []

    def steps(heads: tuple[str, ...], context: MigrationContext) -> list[object]:
        next_steps = script._upgrade_revs(revision, heads)[:1]  # type: ignore[arg-type]
        applied.extend(step.revision.revision for step in next_steps)
        return list(next_steps)

    context = MigrationContext.configure(connection, opts={"fn": steps})
    with Operations.context(context):
        context.run_migrations()
    return applied
