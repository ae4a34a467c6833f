"""Due rows: what the tick would ring for now."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric

from shared.operations import due_rows
from shared.reporting.exporter.gauges import labeled_gauge


def collect_due_rows(connection: sa.Connection) -> Iterator[Metric]:
    """A row that was rung for is due again some seconds later: ages beyond these mean that nobody rings."""
    found = due_rows.due_backlog(connection)
    counts = {name: count for name, (count, _) in found.items()}
    ages = {name: age_seconds for name, (_, age_seconds) in found.items()}
    yield labeled_gauge("ovnpay_due_backlog", "Rows that are due.", ["kind"], counts)
    yield labeled_gauge("ovnpay_due_oldest_age_seconds", "How long the oldest due row has been due.", ["kind"], ages)
