"""How much of the provider's limits is used, and whether it has asked to be left alone."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric

from shared.reporting.exporter.gauges import labeled_gauge

_PAUSED = sa.text("""
    SELECT name, greatest(coalesce(extract(epoch FROM paused_until - clock_timestamp()), 0), 0) FROM provider_limits
""")

_USED = sa.text("""
    SELECT limits.name, coalesce(sum(calls) FILTER (WHERE began_at > clock_timestamp() - CASE
           WHEN limits.name LIKE '% funding' THEN interval '1 minute' ELSE interval '1 hour' END), 0)
    FROM provider_limits AS limits LEFT JOIN provider_calls USING (name) GROUP BY limits.name
""")

PROVIDER_MODES = ("sandbox", "production")
"""Each has a key of its own at the provider, and so limits of its own."""


def collect_provider_limits(connection: sa.Connection) -> Iterator[Metric]:
    """A limit is there from its first call on; the one on all of a key's calls is always shown."""
    known = {f"{mode} requests": 0.0 for mode in PROVIDER_MODES}
    yield labeled_gauge(
        "ovnpay_provider_paused_seconds",
        "How much longer the provider has asked to be left alone, by limit; 0: it has not.",
        ["limit"],
        known | {row[0]: float(row[1]) for row in connection.execute(_PAUSED)},
    )
    yield labeled_gauge(
        "ovnpay_provider_calls_used",
        "Calls that count against a limit now: of the last hour, or for funding of the last minute.",
        ["limit"],
        known | {row[0]: float(row[1]) for row in connection.execute(_USED)},
    )
