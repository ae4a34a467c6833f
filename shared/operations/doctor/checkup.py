"""Run the checks of all parts; one that fails hides no other."""

import os
from collections.abc import Iterator, Mapping

import sqlalchemy as sa

from shared.operations.doctor import configuration, database, provider, task_queue
from shared.operations.doctor.finding import Finding, Level, fail
from shared.platform.clock import Clock, SystemClock
from shared.platform.database import make_engine
from shared.platform.settings import Settings, SettingsError
from shared.platform.settings_loading import load_settings


def run_checks(environ: Mapping[str, str] | None = None, clock: Clock | None = None) -> Iterator[Finding]:
    """Yield the findings of all checks."""
    environ = os.environ if environ is None else environ
    try:
        settings = load_settings(environ)
    except SettingsError as error:
        yield fail("settings", str(error), "set it for this process and every service; nothing else was checked")
        return
    yield from configuration.check_configuration(settings, environ)
    yield from _check_database(settings, clock or SystemClock())
    yield from task_queue.check_task_queue(settings)
    yield from provider.check_provider(settings)


def _check_database(settings: Settings, clock: Clock) -> Iterator[Finding]:
    engine = make_engine(settings, "doctor", pool_size=1, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield from database.check_database(connection, clock)
    except sa.exc.OperationalError as error:
        cause = str(error.orig).strip().splitlines()[0]
        remedy = "start PostgreSQL, or correct OVNPAY_DATABASE_URL; until then requests fail"
        yield fail("database", f"it can't be reached: {cause}", remedy)
    except sa.exc.ProgrammingError as error:
        cause = str(error.orig).strip().splitlines()[0]
        yield fail("database", cause, "run `ovnpay migrate` as the tables' owner")
    finally:
        engine.dispose()


def has_no_failures(findings: list[Finding]) -> bool:
    """Return whether no check failed; warnings are allowed."""
    return all(finding.level is not Level.FAIL for finding in findings)
