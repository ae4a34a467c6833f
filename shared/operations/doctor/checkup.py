"""The rounds: every part in turn, and one that falls over hides no other."""

import os
from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from shared.operations.doctor import configuration, database, provider, task_queue
from shared.operations.doctor.finding import Finding, Level, fail
from shared.platform.clock import Clock, SystemClock
from shared.platform.database import make_engine
from shared.platform.settings import Settings, SettingsError, load_settings


def run_checks(environ: Mapping[str, str] | None = None, clock: Clock | None = None) -> Iterator[Finding]:
    """Everything that can be looked at from here. Without settings there is nowhere to look."""
    environ = os.environ if environ is None else environ
    try:
        settings = load_settings(environ)
    except SettingsError as error:
        yield fail("settings", str(error), "set it for this process and for every service; nothing else was looked at")
        return
    yield from configuration.check_configuration(settings, environ)
    yield from _database(settings, clock or SystemClock())
    yield from task_queue.check_task_queue(settings)
    yield from provider.check_provider(settings)


def _database(settings: Settings, clock: Clock) -> Iterator[Finding]:
    engine = make_engine(settings, "doctor", pool_size=1, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield from database.check_database(connection, clock)
    except sa.exc.OperationalError as error:
        why = str(error.orig).strip().splitlines()[0]
        mend = "start PostgreSQL, or set OVNPAY_DATABASE_URL right; until then no request is taken"
        yield fail("database", f"it can't be reached: {why}", mend)
    except sa.exc.ProgrammingError as error:
        why = str(error.orig).strip().splitlines()[0]
        yield fail("database", why, "run `ovnpay migrate` as the tables' owner")
    finally:
        engine.dispose()


def has_no_failures(findings: list[Finding]) -> bool:
    """Whether nothing fails; warnings are for whoever has time."""
    return all(one.level is not Level.FAIL for one in findings)
