"""Is PostgreSQL there, ours, up to date, safe for money, and at the same time as we are?"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import sqlalchemy as sa

from shared.holds.reconcile_only import is_reconcile_only
from shared.operations import due_rows
from shared.operations.doctor.finding import Finding, fail, ok, warn
from shared.platform.clock import Clock
from shared.schema import migrations
from shared.schema.migrations import grants

VERSION_MIN: Final = 150_000
SKEW_WARN, SKEW_FAIL = timedelta(seconds=2), timedelta(seconds=60)
"""Signatures and sessions are judged by the services' clocks, leases and due times by the database's."""
CONNECTION_SHARE_MAX: Final = 0.8
LATE_WARN_SECONDS, LATE_FAIL_SECONDS = 60.0, 600.0
SAFE_SETTINGS: Final = {
    "fsync": {"on"},
    "full_page_writes": {"on"},
    "synchronous_commit": {"on", "local", "remote_write", "remote_apply"},
}
"""Settings without which a commit that was answered can be lost."""


def check_database(connection: sa.Connection, clock: Clock) -> Iterator[Finding]:
    """The server first; the tables only where they are as this release wants them."""
    yield from _server(connection)
    yield _time(connection, clock)
    migrated = _revision(connection)
    yield migrated
    if migrated.mend and "further" not in migrated.says:
        return
    yield from _role(connection)
    yield from _waiting(connection)


def _server(connection: sa.Connection) -> Iterator[Finding]:
    number, version, standby, used, most = connection.execute(
        sa.text("""
            SELECT current_setting('server_version_num')::int, current_setting('server_version'), pg_is_in_recovery(),
                   (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'),
                   current_setting('max_connections')::int
        """)
    ).one()
    if number < VERSION_MIN:
        yield fail("database: server", f"it is PostgreSQL {version}", "use PostgreSQL 15 or later")
    elif standby:
        yield fail(
            "database: server", "it is a standby: nothing can be written", "name the primary in OVNPAY_DATABASE_URL"
        )
    else:
        yield ok("database: server", f"PostgreSQL {version} answers")
    unsafe = [
        name
        for name, good in SAFE_SETTINGS.items()
        if connection.scalar(sa.text("SELECT current_setting(:name)"), {"name": name}) not in good
    ]
    if unsafe:
        says = f"{', '.join(unsafe)} is off: a crash could lose payouts that were answered"
        yield fail(
            "database: safety", says, f"set {' and '.join(f'{name} = on' for name in unsafe)} in postgresql.conf"
        )
    if used > most * CONNECTION_SHARE_MAX:
        says = f"{used} of {most} connections are taken"
        yield warn("database: connections", says, "raise max_connections, or lower OVNPAY_DATABASE_POOL_SIZE")


def _time(connection: sa.Connection, clock: Clock) -> Finding:
    before = clock.now()
    theirs = connection.scalar(sa.text("SELECT clock_timestamp()"))
    after = clock.now()
    skew = abs(theirs - (before + (after - before) / 2))
    if skew <= SKEW_WARN:
        return ok("database: clock", "the database's clock and ours agree")
    says = f"the database's clock and ours are {skew.total_seconds():.0f} s apart: leases and signatures are misjudged"
    mend = "let NTP set both clocks (`timedatectl status`)"
    return (fail if skew > SKEW_FAIL else warn)("database: clock", says, mend)


def _revision(connection: sa.Connection) -> Finding:
    revision = migrations.current_revision(connection)
    if revision == migrations.HEAD_REVISION:
        return ok("database: migrations", f"at {revision}, as this release wants it")
    if revision is None:
        return fail("database: migrations", "it was never migrated: there are no tables", "run `ovnpay migrate`")
    if migrations.is_compatible_revision(revision):
        says = f"at {revision}, further than this release ({migrations.HEAD_REVISION})"
        return warn("database: migrations", says, "roll the newer release out to all services")
    return fail(
        "database: migrations", f"at {revision}; this release wants {migrations.HEAD_REVISION}", "run `ovnpay migrate`"
    )


def _role(connection: sa.Connection) -> Iterator[Finding]:
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
        says = f"{role} lacks {missing[0]}" + (f" and {len(missing) - 1} more privileges" if missing[1:] else "")
        mend = f"`GRANT {grants.SERVICE_ROLE} TO {role}` as a superuser, then `ovnpay migrate` as the tables' owner"
        yield fail("database: role", says, mend)
    elif tables := grants.modifiable_append_only_tables(connection):
        says = f"{role} could change the ledger ({', '.join(tables[:3])}, …)"
        mend = (
            f"make a login in {grants.SERVICE_ROLE} for OVNPAY_DATABASE_URL, "
            "and give the owner's URL to `ovnpay migrate` alone, as OVNPAY_MIGRATION_DATABASE_URL"
        )
        yield warn("database: role", says, mend)
    else:
        yield ok("database: role", f"{role} can add to the ledger and not change it")


def _waiting(connection: sa.Connection) -> Iterator[Finding]:
    late = {
        name: (count, age) for name, (count, age) in due_rows.due_backlog(connection).items() if age > LATE_WARN_SECONDS
    }
    for name, (count, age) in late.items():
        says = f"{count} {name.replace('_', ' ')} are due, the oldest for {age:.0f} s"
        mend = "see below who hears the queues; if all are heard, the workers' logs say what keeps them"
        yield (fail if age > LATE_FAIL_SECONDS else warn)("work: due", says, mend)
    if not late:
        yield ok("work: due", "nothing is late")
    if is_reconcile_only(connection):
        says = "no payment leaves: our record is being compared with Paystream's"
        yield warn("work: reconcile-only", says, "`ovnpay reconcile` says what differs, and ends it")
    held = connection.scalar(sa.text("SELECT count(*) FROM payouts WHERE held_reason IS NOT NULL"))
    unresolved = connection.scalar(sa.text("SELECT count(*) FROM submissions WHERE status = 'unresolved'"))
    if held or unresolved:
        says = f"{held} payouts are held, {unresolved} submissions unresolved: nothing goes on without a person"
        yield warn("work: for a person", says, "README, “Where to look when something is stuck”")
