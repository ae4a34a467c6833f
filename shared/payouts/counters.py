"""Counters of drivers, batches and lists, updated with each transition under the wallet lock."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from shared.events import customer_events
from shared.ledger.list_counts import COUNTED_STATUSES
from shared.payouts.rows import PayoutRow
from shared.platform.database import encode_rows
from shared.platform.pipelined_queries import Query, no_result
from shared.schema.batch_rows import BATCH_COLUMNS, BatchRow, batch_payload
from shared.schema.payouts import BatchStatus, PayoutStatus

_MOVED: Final = (
    "SELECT * FROM json_to_recordset(CAST(:rows AS json)) AS moved "
    "(wallet_id uuid, driver_id uuid, batch_id uuid, net bigint)"
)

# Updates the counters of drivers and lists. Locks both; the caller has the wallets locked.
_UPDATE_DRIVERS_AND_LISTS: Final = sa.text(f"""
    WITH moved AS ({_MOVED}), of_drivers AS (
        UPDATE drivers SET pending_payouts = pending_payouts + :pending * made.count,
                           total_paid_cents = total_paid_cents + :paid * made.net
        FROM (SELECT driver_id, count(*), sum(net) AS net FROM moved GROUP BY driver_id) AS made
        WHERE drivers.id = made.driver_id
    )
    UPDATE list_counts
    SET count = list_counts.count + CASE name WHEN 'payouts:' || :target THEN made.count ELSE -made.count END
    FROM (SELECT wallet_id, count(*) FROM moved GROUP BY wallet_id) AS made
    WHERE list_counts.wallet_id = made.wallet_id AND name IN ('payouts:' || :source, 'payouts:' || :target)
""")

# Updates the progress and status of the moved payouts' batches. Locks them in id order, after the wallets.
_UPDATE_BATCHES: Final = sa.text(f"""
    WITH moved AS ({_MOVED}), made AS (
        SELECT batch_id, count(*) FROM moved WHERE batch_id IS NOT NULL GROUP BY batch_id
    ), locked AS (
        SELECT batches.id, batches.status AS was, open_payouts + :pending * made.count AS open,
               paid_payouts + :paid * made.count AS paid
        FROM batches JOIN made ON made.batch_id = batches.id ORDER BY batches.id FOR UPDATE OF batches
    ), becoming AS (
        SELECT id, was, open, paid, CASE
            WHEN was = 'processing' AND open = 0 AND paid > 0 THEN 'completed'
            WHEN was = 'processing' AND open = 0 THEN 'failed'
            WHEN was IN ('completed', 'failed') AND released AND open > 0 THEN 'processing'
            WHEN NOT released AND open = 0 THEN 'canceled'
            ELSE was END AS status
        FROM (SELECT locked.*, released_at IS NOT NULL AS released FROM locked JOIN batches USING (id)) AS locked
    )
    UPDATE batches SET open_payouts = open, paid_payouts = paid, status = becoming.status,
        completed_at = CASE
            WHEN becoming.status = was THEN completed_at
            WHEN becoming.status IN ('completed', 'failed') THEN :now END,
        canceled_at = CASE WHEN becoming.status = 'canceled' AND was <> 'canceled' THEN :now ELSE canceled_at END,
        next_action_at = CASE WHEN becoming.status = 'canceled' THEN NULL ELSE next_action_at END
    FROM becoming WHERE batches.id = becoming.id
    RETURNING {BATCH_COLUMNS}, becoming.status <> was
""")

BATCH_END_EVENTS: Final = {BatchStatus.COMPLETED: "batch.completed", BatchStatus.FAILED: "batch.failed"}


def is_counted_transition(source: PayoutStatus, target: PayoutStatus) -> bool:
    """Whether a transition changes a counter: from or to a final status."""
    return source in COUNTED_STATUSES or target in COUNTED_STATUSES


def update_counters_queries(
    rows: Sequence[PayoutRow], source: PayoutStatus, target: PayoutStatus, now: datetime
) -> tuple[Query[None] | None, Query[list[BatchRow]] | None]:
    """Queries that count moved payouts, to be run under the wallets' lock: of drivers and lists, and of batches.

    The second returns the batches that ended, for `write_batch_events`.
    """
    if not rows or not is_counted_transition(source, target):
        return None, None
    values = {
        "rows": encode_rows(_MovedPayout(row.wallet_id, row.driver_id, row.batch_id, row.net_cents) for row in rows),
        "source": source.value,
        "target": target.value,
        "pending": (target not in COUNTED_STATUSES) - (source not in COUNTED_STATUSES),
        "paid": (target is PayoutStatus.COMPLETED) - (source is PayoutStatus.COMPLETED),
    }
    totals = Query(_UPDATE_DRIVERS_AND_LISTS, values, no_result)
    if not any(row.batch_id for row in rows):
        return totals, None
    return totals, Query(_UPDATE_BATCHES, {**values, "now": now}, _ended_batches)


class _MovedPayout(msgspec.Struct):
    wallet_id: uuid.UUID
    driver_id: uuid.UUID
    batch_id: uuid.UUID | None
    net: int


def _ended_batches(rows: Sequence[Any]) -> list[BatchRow]:
    changed = [BatchRow._make(row[:-1]) for row in rows if row[-1]]
    return [row for row in changed if row.status in BATCH_END_EVENTS]


def write_batch_events(
    connection: sa.Connection, batches: Sequence[BatchRow], now: datetime, event: str | None = None
) -> None:
    """Write a customer event for each batch: `event`, or the one for its final status."""
    customer_events.write_events(
        connection,
        [
            customer_events.Event(
                row.wallet_id, event or BATCH_END_EVENTS[BatchStatus(row.status)], None, 0, batch_payload(row)
            )
            for row in batches
        ],
        now,
    )
