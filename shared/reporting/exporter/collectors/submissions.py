"""Submissions whose outcome is not known: to be sent, asked again, or left to a person."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric

from shared.holds.conditions import on_hold_condition
from shared.reporting.exporter.gauges import labeled_gauge

_OPEN = sa.text(f"""
    SELECT status, count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
    FROM submissions
    WHERE (next_action_at IS NOT NULL AND status IN ('prepared', 'unknown')
           AND NOT (first_sent_at IS NULL AND {on_hold_condition("submissions.wallet_id", "submissions.rail")}))
          OR status = 'unresolved'
    GROUP BY status
""")


def collect_submissions(connection: sa.Connection) -> Iterator[Metric]:
    """Without those paused or frozen before they were sent, and all that have their answer."""
    counts, ages = (dict.fromkeys(("prepared", "unknown", "unresolved"), 0.0) for _ in range(2))
    for status, count, age_seconds in connection.execute(_OPEN):
        counts[status], ages[status] = float(count), float(age_seconds)
    text = "Submissions whose outcome is not known: prepared, unknown (asked again), unresolved (a person decides)."
    yield labeled_gauge("ovnpay_submissions", text, ["status"], counts)
    yield labeled_gauge(
        "ovnpay_submissions_oldest_age_seconds",
        "How old the oldest of them is; 0: there is none.",
        ["status"],
        ages,
    )
