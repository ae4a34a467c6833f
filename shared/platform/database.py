"""Database access: engines, session settings, and the wait until the database is ready and migrated."""

import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import make_url

from shared.platform.connection_pool import MeasuredPool, check_if_idle, record_use
from shared.platform.settings import Settings

_AT_COMMIT: Final = "at_commit"

SESSION_SETTINGS: Final = {
    "timezone": "UTC",
    "lock_timeout": "5s",
    "statement_timeout": "30s",
    "idle_in_transaction_session_timeout": "1min",
    "jit": "off",  # compilation costs more than our queries take
}
"""PostgreSQL settings of each of our sessions."""


class DatabaseNotReady(Exception):
    """The database did not answer, or is not migrated, within the time given."""


def make_engine(settings: Settings, service: str, *, url: str = "", **options: Any) -> sa.Engine:
    """Create an engine with a bounded pool, on the services' database or on `url`.

    `service` names the sessions and the pool's metrics; other options go to `sqlalchemy.create_engine`.
    """
    address = make_url(url or settings.database_url).set(drivername="postgresql+psycopg")
    options.setdefault("pool_size", settings.database_pool_size)
    session: dict[str, Any] = {"options": " ".join(f"-c {name}={value}" for name, value in SESSION_SETTINGS.items())}
    if settings.database_pooler == "transaction" and not url:
        # Each transaction may get another session: no prepared statements, and the settings come from the role.
        session = {"prepare_threshold": None}
    engine = sa.create_engine(
        address,
        poolclass=MeasuredPool,
        pool_logging_name=service,
        hide_parameters=True,  # names and amounts must not reach a log in an error
        pool_timeout=10,
        pool_recycle=1800,
        max_overflow=0,
        connect_args={
            "application_name": f"ovnpay-{service}",
            "connect_timeout": 5,
            # A server that vanished without closing is noticed within half a minute.
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
            "tcp_user_timeout": 35_000,
            **session,
        },
        **options,
    )
    sa.event.listen(engine, "handle_error", _shorten_error)
    sa.event.listen(engine, "checkin", _on_checkin)
    sa.event.listen(engine, "checkout", check_if_idle)
    # One listener for all transactions: registering one per transaction costs a single payout 5 % of its time.
    sa.event.listen(engine, "commit", _run_callbacks)
    sa.event.listen(engine, "rollback", _discard_callbacks)
    sa.event.listen(engine, "rollback_savepoint", _discard_callbacks)
    return engine


def _shorten_error(context: sa.engine.ExceptionContext) -> None:
    if isinstance(context.original_exception, psycopg.Error):
        remove_values(context.original_exception, context.sqlalchemy_exception)


def remove_values(original: psycopg.Error, raised: sa.exc.StatementError | None) -> None:
    """Remove row values from a database error, because errors end in logs.

    The server's details show the whole row that violates a constraint, and the message of a data exception repeats the
    value.
    """
    if original.diag.sqlstate is None:
        return
    state = original.diag.sqlstate
    is_data_exception = state.startswith("22")
    message = f"a value was refused ({state})" if is_data_exception else f"{original.diag.message_primary} ({state})"
    original.args = (message,)
    if raised is not None:
        kind = type(original)
        raised.args = (f"({kind.__module__}.{kind.__qualname__}) {message}",)


def call_at_commit(connection: sa.Connection, callback: Callable[[], None]) -> None:
    """Call `callback` just before the connection's transaction commits; a rollback discards it.

    For metrics only: the commit itself may still fail.
    """
    connection.info.setdefault(_AT_COMMIT, []).append(callback)


def _run_callbacks(connection: sa.Connection) -> None:
    for callback in connection.info.pop(_AT_COMMIT, ()):
        callback()


def _discard_callbacks(connection: sa.Connection, *_: object) -> None:
    # Our savepoints enclose all of a transaction's work, so rolling one back discards everything.
    if not connection.invalidated:  # an invalidated connection has lost its callbacks already
        connection.info.pop(_AT_COMMIT, None)


def _on_checkin(connection: Any, record: Any) -> None:
    record_use(connection, record)
    record.info.pop(_AT_COMMIT, None)  # of a transaction that was left open


def encode_rows(values: Iterable[dict[str, Any] | msgspec.Struct]) -> str:
    """Encode rows as one JSON parameter for `json_to_recordset`.

    Arrays for `unnest` take ten times as long to encode, and three times as long in all.
    """
    return msgspec.json.encode(list(values)).decode()


def check_session_settings(engine: sa.Engine) -> None:
    """Check that sessions behind a connection pooler have `SESSION_SETTINGS` too.

    Raises:
        DatabaseNotReady: they do not; the message has the statements that set them.

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
            f"Behind a pooler (OVNPAY_DATABASE_POOLER) the role must have the settings of its sessions: {remedy} "
            "Then make the pooler reconnect."
        )


def wait_for_database(engine: sa.Engine, *, revision: str | None, timeout_seconds: float = 60.0) -> None:
    """Wait until the database answers and, given a `revision`, is migrated to at least that one.

    A newer revision is fine: during a deploy the old code keeps running, and migrations stay compatible with it.

    Raises:
        DatabaseNotReady: it was not ready in time; the message has the last reason.

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
                last = f"it is at revision {found}, this code needs {revision}; run `ovnpay migrate`"
        except (sa.exc.OperationalError, sa.exc.ProgrammingError) as error:
            last = str(error.orig).strip()
        if time.monotonic() > deadline:
            raise DatabaseNotReady(f"The database was not ready after {timeout_seconds:.0f} s: {last}")
        time.sleep(pause_seconds)
        pause_seconds = min(pause_seconds * 1.5, 0.5)
