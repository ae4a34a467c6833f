"""The database server: its sessions, longest transaction, activity and size."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from shared.reporting.exporter.collectors import labeled_gauge

# A login sees the names of all sessions, but only the states of its own role's. The services share a role.
_SESSIONS = sa.text("""
    SELECT CASE WHEN application_name LIKE 'ovnpay-%' THEN substr(application_name, 8) ELSE 'other' END,
           coalesce(replace(split_part(state, ' (', 1), ' ', '_'), 'unknown'), count(*)
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() GROUP BY 1, 2
""")

_TRANSACTIONS = sa.text("""
    SELECT coalesce(extract(epoch FROM clock_timestamp() - min(xact_start)), 0),
           count(*) FILTER (WHERE wait_event_type = 'Lock')
    FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
""")

_ACTIVITY = sa.text("""
    SELECT xact_commit, xact_rollback, deadlocks, blks_hit, blks_read, temp_bytes,
           current_setting('max_connections')::int AS sessions_max, pg_database_size(current_database()) AS size
    FROM pg_stat_database WHERE datname = current_database()
""")


def collect_database(connection: sa.Connection) -> Iterator[Metric]:
    """Yield the server's statistics, without the exporter's own session."""
    sessions = {(row[0], row[1]): float(row[2]) for row in connection.execute(_SESSIONS)}
    text = "Sessions of the database, by service and state (unknown: not visible to the exporter's role)."
    yield labeled_gauge("ovnpay_database_sessions", text, ["service", "state"], sessions)
    age_seconds, waiting = connection.execute(_TRANSACTIONS).one()
    text = "How long the oldest transaction has been open."
    yield GaugeMetricFamily("ovnpay_database_oldest_transaction_age_seconds", text, value=float(age_seconds))
    yield GaugeMetricFamily("ovnpay_database_lock_waits", "Sessions that wait for a lock.", value=waiting)
    activity = connection.execute(_ACTIVITY).one()
    text = "The server's max_connections."
    yield GaugeMetricFamily("ovnpay_database_sessions_max", text, value=activity.sessions_max)
    yield GaugeMetricFamily("ovnpay_database_size_bytes", "Size of the database.", value=activity.size)
    transactions = CounterMetricFamily(
        "ovnpay_database_transactions", "Transactions of the database, by outcome.", labels=["outcome"]
    )
    transactions.add_metric(["committed"], activity.xact_commit)
    transactions.add_metric(["rolled_back"], activity.xact_rollback)
    yield transactions
    yield CounterMetricFamily("ovnpay_database_deadlocks", "Deadlocks that the server resolved.", activity.deadlocks)
    blocks = CounterMetricFamily(
        "ovnpay_database_blocks", "Blocks read, by source: hit (in memory) or read (from disk).", labels=["source"]
    )
    blocks.add_metric(["hit"], activity.blks_hit)
    blocks.add_metric(["read"], activity.blks_read)
    yield blocks
    text = "Bytes written to temporary files."
    yield CounterMetricFamily("ovnpay_database_temporary_bytes", text, activity.temp_bytes)
