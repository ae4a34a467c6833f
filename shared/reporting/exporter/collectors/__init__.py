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

DATABASE_COLLECTORS: Final[Mapping[str, Callable[[sa.Connection], Iterable[Metric]]]] = {
    "payouts": payouts.collect_payouts,
    "submissions": submissions.collect_submissions,
    "batches": batches.collect_batches,
    "money": money.collect_balances,
    "due_rows": due_rows.collect_due_rows,
    "invariants": invariants.collect_invariants,
    "reconciliation": reconciliation.collect_reconciliation,
    "provider": provider.collect_provider_limits,
    "provider_events": provider_events.collect_provider_events,
    "webhooks": webhooks.collect_webhook_endpoints,
    "database": database.collect_database,
}
REDIS_COLLECTORS: Final[Mapping[str, Callable[["redis.Redis"], Iterable[Metric]]]] = {"queues": queues.collect_queues}
