"""The database: engines, and waiting until it is there and migrated."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import psycopg
import sqlalchemy as sa
import structlog
from sqlalchemy.engine import make_url

from shared.platform.connection_pool import MeasuredPool
from shared.platform.settings import Settings

logger = structlog.get_logger(__name__)

IDLE_CHECK_SECONDS = 1.0
_AT_COMMIT: Final = "at_commit"

SESSION_SETTINGS: Final = {
    "timezone": "UTC",
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "1min",
    "jit": "off",  # compiling costs more than our queries take
}
"""What holds in each of our sessions."""


class DatabaseNotReady(Exception):
    """The database did not answer, or is not migrated, within the time given."""


def make_engine(settings: Settings, service: str, *, url: str = "", **options: Any) -> sa.Engine:
    """An engine with a bounded pool, on the services' database or, given a `url`, on that. A connection that was idle
    is checked before use; one that was in use a moment ago is not, for a round trip costs a quarter of a millisecond.

    Sessions name their service, keep to UTC, and give up on a lock or a statement rather than hang.
    """
    address = make_url(url or settings.database_url).set(drivername="postgresql+psycopg")
    options.setdefault("pool_size", settings.database_pool_size)
    session: dict[str, Any] = {"options": " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items())}
    if settings.database_pooler == "transaction" and not url:
        # Each transaction may have another session: none is prepared for us, and what holds in it its role has to say.
        session = {"prepare_threshold": None}
    engine = sa.create_engine(
        address,
        poolclass=MeasuredPool,
        pool_logging_name=service,
        hide_parameters=True,  # an error in a log must not carry names and amounts
        pool_timeout=10,
        pool_recycle=1800,
        max_overflow=0,
        connect_args={
            "application_name": f"ovnpay-{service}",
            "connect_timeout": 5,
            # A server that vanished, not closed, is noticed in half a minute; a live one answers before that.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 35_000,
            **session,
        },
        **options,
    )
    sa.event.listen(engine, "handle_error", _shorten)
    sa.event.listen(engine, "checkin", _note_use)
    sa.event.listen(engine, "checkout", _check_if_idle)
    # Once for all transactions: listeners of a single one cost a lone payout a twentieth of its time.
    sa.event.listen(engine, "commit", _do_at_commit)
    sa.event.listen(engine, "rollback", _forget_at_commit)
    sa.event.listen(engine, "rollback_savepoint", _forget_at_commit)
    return engine


def _shorten(context: sa.engine.ExceptionContext) -> None:
    if isinstance(context.original_exception, psycopg.Error):
        remove_values(context.original_exception, context.sqlalchemy_exception)


def remove_values(original: psycopg.Error, raised: sa.exc.StatementError | None) -> None:
    """Shortens what the database says of an error to what it says of any row: its details show the whole row that a
    constraint refused, and a value that can't be read is repeated. Errors end in logs.
    """
    if original.diag.sqlstate is None:
        return
    state = original.diag.sqlstate
    of_values = state.startswith("22")  # "data exception": its sentence names the value
    sentence = f"a value was refused ({state})" if of_values else f"{original.diag.message_primary} ({state})"
    original.args = (sentence,)
    if raised is not None:
        kind = type(original)
        raised.args = (f"({kind.__module__}.{kind.__qualname__}) {sentence}",)


def _note_use(connection: Any, record: Any) -> None:
    record.info["used_at"] = time.monotonic()
    record.info.pop(_AT_COMMIT, None)  # of a transaction that somebody left open


def _check_if_idle(connection: Any, record: Any, proxy: Any) -> None:
    """Asks the server for a sign of life on a connection that was idle; a dead one is replaced by the pool.

    Below psycopg's transactions, whose rollback makes it forget what it has prepared: each request after a pause would
    pay for that.
    """
    if time.monotonic() - record.info.get("used_at", time.monotonic()) < IDLE_CHECK_SECONDS:
        return
    try:
        alive = connection.pgconn.exec_(b"SELECT 1").status == psycopg.pq.ExecStatus.TUPLES_OK
    except psycopg.Error as error:
        raise sa.exc.DisconnectionError from error
    if not alive:
        raise sa.exc.DisconnectionError


def call_at_commit(connection: sa.Connection, work: Callable[[], None]) -> None:
    """Has `work` done when the connection's transaction is about to be committed, and not if it is rolled back.

    For figures alone: the commit itself may still fail.
    """
    connection.info.setdefault(_AT_COMMIT, []).append(work)


def _do_at_commit(connection: sa.Connection) -> None:
    for work in connection.info.pop(_AT_COMMIT, ()):
        work()


def _forget_at_commit(connection: sa.Connection, *_: object) -> None:
    """Savepoints of ours enclose all of the work, so one that is rolled back takes all of it."""
    if not connection.invalidated:  # whose notes went with it
        connection.info.pop(_AT_COMMIT, None)


def encode_rows(values: Iterable[dict[str, Any] | msgspec.Struct]) -> str:
    """Rows as one parameter for `json_to_recordset`: measured, a set of arrays for `unnest` costs ten times the time
    to encode and three times the time in all.
    """
    return msgspec.json.encode(list(values)).decode()


def check_session_settings(engine: sa.Engine) -> None:
    """Makes sure that behind a pooler, too, sessions keep to UTC and give up on a lock rather than hang.

    Raises:
        DatabaseNotReady: they do not; the sentence says how the role is told to.

    """
    with engine.connect() as connection:
        role = connection.scalar(sa.text("SELECT current_user"))
        wrong = {
            name: value
            for name, value in SESSION_SETTINGS.items()
            if connection.scalar(sa.text("SELECT current_setting(:name)"), {"name": name}) != value
        }
    if wrong:
        remedy = " ".join(f"ALTER ROLE {role} SET {name} = '{value}';" for name, value in wrong.items())
        raise DatabaseNotReady(
            f"Behind a pooler (OVNPAY_DATABASE_POOLER) the role has to say what holds in its sessions: {remedy} "
            "Then have the pooler connect anew."
        )


def wait_for_database(engine: sa.Engine, *, revision: str | None, timeout_seconds: float = 60.0) -> None:
    """Waits until the database answers and, with a `revision`, has been migrated to it, or further: while a deploy is
    under way the older code goes on, and starts again where it has to, for migrations leave it what it needs.

    Raises:
        DatabaseNotReady: it did not in time; the sentence says what it said last.

    """
    deadline = time.monotonic() + timeout_seconds
    pause_seconds = 0.02
    while True:
        try:
            with engine.connect() as connection:
                if revision is None:
                    return
                found = connection.scalar(sa.text("SELECT version_num FROM alembic_version"))
                if found is not None and found >= revision:
                    return
                last = f"it is at revision {found}, this code wants {revision}; run `ovnpay migrate`"
        except (sa.exc.OperationalError, sa.exc.ProgrammingError) as error:
            last = str(error.orig).strip()
        if time.monotonic() > deadline:
            raise DatabaseNotReady(f"The database was not ready after {timeout_seconds:.0f} s: {last}")
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, 0.5)
