"""The provider: how much of its rate limits is used, and its webhooks that wait to be applied."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric

from shared.reporting.exporter.collectors import labeled_gauge

_PAUSED = sa.text("""
    SELECT name, greatest(coalesce(extract(epoch FROM paused_until - clock_timestamp()), 0), 0) FROM provider_limits
""")

_USED = sa.text("""
    SELECT limits.name, coalesce(sum(calls) FILTER (WHERE began_at > clock_timestamp() - CASE
           WHEN limits.name LIKE '% funding' THEN interval '1 minute' ELSE interval '1 hour' END), 0)
    FROM provider_limits AS limits LEFT JOIN provider_calls USING (name) GROUP BY limits.name
""")

PROVIDER_MODES = ("sandbox", "production")
"""Each has its own key at the provider, and so its own limits."""


def collect_provider_limits(connection: sa.Connection) -> Iterator[Metric]:
    """Yield each limit from its first call on; the limit on all calls of a key is always present."""
    always = {f"{mode} requests": 0.0 for mode in PROVIDER_MODES}
    yield labeled_gauge(
        "ovnpay_provider_paused_seconds",
        "Seconds until the provider accepts calls again after a 429, by limit; 0: it accepts calls.",
        ["limit"],
        always | {row[0]: float(row[1]) for row in connection.execute(_PAUSED)},
    )
    yield labeled_gauge(
        "ovnpay_provider_calls_used",
        "Calls that count against a limit now: those of the last hour, for funding of the last minute.",
        ["limit"],
        always | {row[0]: float(row[1]) for row in connection.execute(_USED)},
    )


_EVENTS_WAITING = sa.text("""
    SELECT status, count(*), coalesce(extract(epoch FROM clock_timestamp() - min(received_at)), 0)
    FROM provider_events WHERE next_action_at IS NOT NULL AND status IN ('received', 'orphan') GROUP BY status
""")


def collect_provider_events(connection: sa.Connection) -> Iterator[Metric]:
    """Yield webhooks not applied yet. An orphan is for a payment that we do not know; it is retried for a day."""
    counts, ages = (dict.fromkeys(("received", "orphan"), 0.0) for _ in range(2))
    for status, count, age_seconds in connection.execute(_EVENTS_WAITING):
        counts[status], ages[status] = float(count), float(age_seconds)
    text = "Provider webhooks that wait to be applied, by status: received, or orphan (for an unknown payment)."
    yield labeled_gauge("ovnpay_provider_events_waiting", text, ["status"], counts)
    yield labeled_gauge(
        "ovnpay_provider_events_oldest_age_seconds",
        "Time since the oldest waiting webhook was received; 0: none waits.",
        ["status"],
        ages,
    )
