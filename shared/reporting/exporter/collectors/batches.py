"""Batches: how many are open, and whether one is late."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric

from shared.reporting.exporter.gauges import gauge, labeled_gauge

_OPEN = sa.text("""
    SELECT open.status, coalesce(sum(found.count), 0)
    FROM wallets CROSS JOIN (VALUES ('queued'), ('processing')) AS open (status)
    CROSS JOIN LATERAL (
        SELECT count(*) FROM batches WHERE batches.wallet_id = wallets.id AND batches.status = open.status
    ) AS found
    GROUP BY open.status
""")

# Not by `next_action_at`, which the tick puts off each time it rings: by the time that the customer has named.
_LATE = sa.text("""
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(scheduled_for)), 0)
    FROM batches WHERE next_action_at IS NOT NULL AND status = 'queued' AND scheduled_for <= statement_timestamp()
""")


def collect_batches(connection: sa.Connection) -> Iterator[Metric]:
    """A batch that waits for somebody to release it is never late."""
    counts = {"queued": 0, "processing": 0} | {row[0]: int(row[1]) for row in connection.execute(_OPEN)}
    yield labeled_gauge("ovnpay_batches", "Batches that have not ended, by status.", ["status"], counts)
    count, age_seconds = connection.execute(_LATE).one()
    yield gauge("ovnpay_batches_overdue", "Batches whose time has come and that are not released.", count)
    yield gauge(
        "ovnpay_batches_overdue_age_seconds", "For how long the first of them is late; 0: none is.", float(age_seconds)
    )
