"""Check PostgreSQL: version, durability, clock, migrations, role, and late work."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from shared.holds.reconcile_only import is_reconcile_only
from shared.operations import due_rows
from shared.operations.doctor.finding import Finding, Level, fail, ok, warn
from shared.platform.clock import Clock
from shared.schema import migrations
from shared.schema.migrations import grants

VERSION_MIN: Final = 150_000
SKEW_WARN, SKEW_FAIL = timedelta(seconds=2), timedelta(seconds=60)
"""Signatures and sessions use the services' clocks; leases and due times use the database's."""
CONNECTION_SHARE_MAX: Final = 0.8
LATE_WARN_SECONDS, LATE_FAIL_SECONDS = 60.0, 600.0
SAFE_SETTINGS: Final = {
    "fsync": {"on"},
    "full_page_writes": {"on"},
    "synchronous_commit": {"on", "local", "remote_write", "remote_apply"},
}
"""Values of settings with which no committed transaction is lost."""


def check_database(connection: sa.Connection, clock: Clock) -> Iterator[Finding]:
    yield from _check_server(connection)
    yield _check_clock(connection, clock)
    migrated = _check_revision(connection)
    yield migrated
    if migrated.level is Level.FAIL:
        return
    yield from _check_role(connection)
    yield from _check_late_work(connection)


def _check_server(connection: sa.Connection) -> Iterator[Finding]:
    number, version, is_standby, used, limit = connection.execute(
        sa.text("""
            SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(),
                   (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
                   current_setting('max_connections')::int
        """)
    ).one()
    if number < VERSION_MIN:
        yield fail("database: server", f"it is PostgreSQL {version}", "use PostgreSQL 15 or later")
    elif is_standby:
        yield fail("database: server", "it is a read-only standby", "set OVNPAY_DATABASE_URL to the primary")
    else:
        yield ok("database: server", f"PostgreSQL {version} answers")
    unsafe = [
        name
        for name, good in SAFE_SETTINGS.items()
        if connection.scalar(sa.text("SELECT current_setting(:name)"), {"name": name}) not in good
    ]
    if unsafe:
        message = f"{', '.join(unsafe)} is off: a crash could lose accepted payouts"
        yield fail(
            "database: safety", message, f"set {' and '.join(f'{name} = on' for name in unsafe)} in postgresql.conf"
        )
    if used > limit * CONNECTION_SHARE_MAX:
        message = f"{used} of {limit} connections are in use"
        yield warn("database: connections", message, "raise max_connections, or lower OVNPAY_DATABASE_POOL_SIZE")


def _check_clock(connection: sa.Connection, clock: Clock) -> Finding:
    before = clock.now()
    database_time = connection.scalar(sa.text("SELECT clock_timestamp()"))
    after = clock.now()
    skew = abs(database_time - (before + (after - before) / 2))
    if skew <= SKEW_WARN:
        return ok("database: clock", "the clocks of the database and this machine agree")
    seconds = skew.total_seconds()
    message = f"the clocks of the database and this machine are {seconds:.0f} s apart: leases and signatures fail"
    remedy = "synchronize both with NTP (check with `timedatectl status`)"
    return (fail if skew > SKEW_FAIL else warn)("database: clock", message, remedy)


def _check_revision(connection: sa.Connection) -> Finding:
    revision = migrations.current_revision(connection)
    if revision == migrations.HEAD_REVISION:
        return ok("database: migrations", f"at {revision}, the revision of this release")
    if revision is None:
        return fail("database: migrations", "it has no tables", "run `ovnpay migrate`")
    if migrations.is_compatible_revision(revision):
        message = f"at {revision}, newer than this release ({migrations.HEAD_REVISION})"
        return warn("database: migrations", message, "update all services to the newer release")
    return fail(
        "database: migrations", f"at {revision}; this release needs {migrations.HEAD_REVISION}", "run `ovnpay migrate`"
    )


def _check_role(connection: sa.Connection) -> Iterator[Finding]:
    missing = [
        f"{privilege} on {table}"
        for table, grant in grants.TABLE_GRANTS.items()
        for privilege in grant.service
        if not connection.scalar(
            sa.text("SELECT has_table_privilege(to_regclass(:table), :privilege)"),
            {"table": table, "privilege": privilege},
        )
    ]
    role = connection.scalar(sa.text("SELECT current_user"))
    if missing:
        message = f"{role} lacks {missing[0]}" + (f" and {len(missing) - 1} more privileges" if missing[1:] else "")
        remedy = f"run `GRANT {grants.SERVICE_ROLE} TO {role}` as superuser, then `ovnpay migrate` as the tables' owner"
        yield fail("database: role", message, remedy)
    elif tables := grants.modifiable_append_only_tables(connection):
        message = f"{role} can modify the ledger ({', '.join(tables[:3])}, …)"
        remedy = (
            f"create a login in {grants.SERVICE_ROLE} for OVNPAY_DATABASE_URL, "
            "and give the owner's URL only to `ovnpay migrate`, as OVNPAY_MIGRATION_DATABASE_URL"
        )
        yield warn("database: role", message, remedy)
    else:
        yield ok("database: role", f"{role} can append to the ledger but not modify it")


def _check_late_work(connection: sa.Connection) -> Iterator[Finding]:
    late = {
        name: (count, age) for name, (count, age) in due_rows.due_backlog(connection).items() if age > LATE_WARN_SECONDS
    }
    for name, (count, age) in late.items():
        message = f"{count} {name.replace('_', ' ')} are due, the oldest for {age:.0f} s"
        remedy = "check below that workers consume every queue (`ovnpay queues`); if so, read the workers' logs"
        yield (fail if age > LATE_FAIL_SECONDS else warn)("work: due", message, remedy)
    if not late:
        yield ok("work: due", "nothing is late")
    if is_reconcile_only(connection):
        message = "no payment is sent until our record has been compared with Paystream's"
        yield warn("work: reconcile-only", message, "run `ovnpay reconcile`: it shows what differs and ends this")
    held = connection.scalar(sa.text("SELECT count(*) FROM payouts WHERE held_reason IS NOT NULL"))
    unresolved = connection.scalar(sa.text("SELECT count(*) FROM submissions WHERE status = 'unresolved'"))
    if held or unresolved:
        message = f"{held} payouts are on hold and {unresolved} submissions unresolved: they wait for a person"
        yield warn("work: for a person", message, "list them with `ovnpay dead list`; see deploy/runbooks/money.md")
