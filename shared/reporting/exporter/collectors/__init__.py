"""Every collector, by the name under which `ovnpay_exporter_collector_up` speaks of it.

A collector is a function in a file of its own that reads a few figures and returns them. Its statements go by an index,
or read small tables: there may be two million payouts. To add one: write its file, and name it here.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

import redis
import sqlalchemy as sa
from prometheus_client import Metric

from shared.reporting.exporter.collectors import (
    batches,
    database,
    due_rows,
    invariants,
    money,
    payouts,
    provider,
    provider_events,
    queues,
    reconciliation,
    submissions,
    webhooks,
)

ON_DATABASE: Final[Mapping[str, Callable[[sa.Connection], Iterable[Metric]]]] = {
    "payouts": payouts.read,
    "submissions": submissions.read,
    "batches": batches.read,
    "money": money.read,
    "due_rows": due_rows.read,
    "invariants": invariants.read,
    "reconciliation": reconciliation.read,
    "provider": provider.read,
    "provider_events": provider_events.read,
    "webhooks": webhooks.read,
    "database": database.read,
}
ON_REDIS: Final[Mapping[str, Callable[["redis.Redis"], Iterable[Metric]]]] = {"queues": queues.read}
