"""Work that is waiting: due rows, Dramatiq's queues, and the customers' webhook endpoints that receive it."""

from collections.abc import Iterator

import redis
import sqlalchemy as sa
from prometheus_client import Metric

from shared.operations import due_rows
from shared.platform.queue_statuses import load_queue_statuses
from shared.reporting.exporter.collectors import labeled_gauge
from shared.schema.events import EndpointStatus


def collect_due_rows(connection: sa.Connection) -> Iterator[Metric]:
    """Yield due rows by kind. The scheduler postpones what it enqueues, so a high age means it does not run."""
    backlog = due_rows.due_backlog(connection)
    counts = {name: count for name, (count, _) in backlog.items()}
    ages = {name: age_seconds for name, (_, age_seconds) in backlog.items()}
    yield labeled_gauge("ovnpay_due_backlog", "Rows that are due, by kind.", ["kind"], counts)
    yield labeled_gauge("ovnpay_due_oldest_age_seconds", "Time since the oldest due row became due.", ["kind"], ages)


def collect_queues(client: "redis.Redis") -> Iterator[Metric]:
    """Yield the length of each queue, from one round trip to Redis."""
    queues = load_queue_statuses(client)
    waiting = {queue.queue: queue.waiting for queue in queues}
    in_flight = {queue.queue: queue.in_flight for queue in queues}
    dead = {queue.queue: queue.dead for queue in queues}
    yield labeled_gauge("ovnpay_queue_depth", "Messages that wait for a worker, by queue.", ["queue"], waiting)
    yield labeled_gauge("ovnpay_queue_in_flight", "Messages that a worker has received.", ["queue"], in_flight)
    text = "Dead letters: messages whose actor failed, kept for three days. Their rows are enqueued again when due."
    yield labeled_gauge("ovnpay_queue_dead", text, ["queue"], dead)


def collect_webhook_endpoints(connection: sa.Connection) -> Iterator[Metric]:
    """Yield the customers' webhook endpoints by status; their due deliveries are the due rows `webhooks`."""
    rows = connection.execute(
        sa.text("SELECT status, count(*) FROM webhook_endpoints WHERE deleted_at IS NULL GROUP BY status")
    )
    counts = {status.value: 0 for status in EndpointStatus} | {row[0]: int(row[1]) for row in rows}
    yield labeled_gauge("ovnpay_webhook_endpoints", "Customers' webhook endpoints, by status.", ["status"], counts)
