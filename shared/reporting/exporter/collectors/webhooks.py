"""Customers' webhooks: how many endpoints are called."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric

from shared.reporting.exporter.gauges import labeled_gauge
from shared.schema.events import EndpointStatus


def collect_webhook_endpoints(connection: sa.Connection) -> Iterator[Metric]:
    """What waits for them is among the due rows, as `webhooks`."""
    found = connection.execute(
        sa.text("SELECT status, count(*) FROM webhook_endpoints WHERE deleted_at IS NULL GROUP BY status")
    )
    statuses = {status.value: 0 for status in EndpointStatus} | {row[0]: int(row[1]) for row in found}
    yield labeled_gauge("ovnpay_webhook_endpoints", "Customers' webhooks, by status.", ["status"], statuses)
