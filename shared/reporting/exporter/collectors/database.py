"""The database server: its connections, its longest transaction, what it has done, and how large it is."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from shared.reporting.exporter.gauges import gauge, labeled_gauge

# A login sees the names of all sessions, and the state of its own alone: those of the services have the same one.
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

_DONE = sa.text("""
    SELECT xact_commit, xact_rollback, deadlocks, blks_hit, blks_read, temp_bytes,
           current_setting('max_connections')::int AS most, pg_database_size(current_database()) AS size
    FROM pg_stat_database WHERE datname = current_database()
""")


def collect_database(connection: sa.Connection) -> Iterator[Metric]:
    """This reading's own session is left out."""
    sessions = {(row[0], row[1]): float(row[2]) for row in connection.execute(_SESSIONS)}
    text = "Sessions of the database, by service and by what they do (unknown: what we may not see)."
    yield labeled_gauge("ovnpay_database_sessions", text, ["service", "state"], sessions)
    age_seconds, waiting = connection.execute(_TRANSACTIONS).one()
    text = "How long the oldest transaction has been open."
    yield gauge("ovnpay_database_oldest_transaction_age_seconds", text, float(age_seconds))
    yield gauge("ovnpay_database_lock_waits", "Sessions that wait for a lock.", waiting)
    done = connection.execute(_DONE).one()
    yield gauge("ovnpay_database_sessions_max", "Sessions that the server takes at the most.", done.most)
    yield gauge("ovnpay_database_size_bytes", "How large the database is.", done.size)
    transactions = CounterMetricFamily(
        "ovnpay_database_transactions", "Transactions of the database, by how they ended.", labels=["outcome"]
    )
    transactions.add_metric(["committed"], done.xact_commit)
    transactions.add_metric(["rolled_back"], done.xact_rollback)
    yield transactions
    yield CounterMetricFamily("ovnpay_database_deadlocks", "Deadlocks that the server has broken.", done.deadlocks)
    blocks = CounterMetricFamily(
        "ovnpay_database_blocks", "Blocks that were asked for: hit in memory, or read.", labels=["source"]
    )
    blocks.add_metric(["hit"], done.blks_hit)
    blocks.add_metric(["read"], done.blks_read)
    yield blocks
    yield CounterMetricFamily("ovnpay_database_temporary_bytes", "Written to temporary files.", done.temp_bytes)
