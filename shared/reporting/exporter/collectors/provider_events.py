"""The provider's webhooks that are stored and wait to be applied."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric

from shared.reporting.exporter.gauges import labeled_gauge

_WAITING = sa.text("""
    SELECT status, count(*), coalesce(extract(epoch FROM clock_timestamp() - min(received_at)), 0)
    FROM provider_events WHERE next_action_at IS NOT NULL AND status IN ('received', 'orphan') GROUP BY status
""")


def collect_provider_events(connection: sa.Connection) -> Iterator[Metric]:
    """An orphan names a payment that we do not know yet; it is tried again for a day."""
    counts, ages = (dict.fromkeys(("received", "orphan"), 0.0) for _ in range(2))
    for status, count, age_seconds in connection.execute(_WAITING):
        counts[status], ages[status] = float(count), float(age_seconds)
    text = "Webhooks of the provider that wait to be applied: received, or orphan (of a payment that we do not know)."
    yield labeled_gauge("ovnpay_provider_events_waiting", text, ["status"], counts)
    yield labeled_gauge(
        "ovnpay_provider_events_oldest_age_seconds",
        "How long ago the oldest of them came; 0: there is none.",
        ["status"],
        ages,
    )
