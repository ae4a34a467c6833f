"""Load batches: one with its payouts, pages of them, and totals of the scheduled ones."""

import uuid
from datetime import date, timedelta
from typing import Any, Final

import sqlalchemy as sa

from shared.batches.rows import BatchDetails, ScheduledStats
from shared.payouts.rows import PAYOUT_COLUMNS, PayoutRow
from shared.platform.pagination import Page, PageRequest, select_page_ids
from shared.schema.batch_rows import BATCH_COLUMNS, BatchRow
from shared.schema.payouts import BatchStatus, PayoutStatus

BATCH_PAYOUTS_SHOWN_MAX: Final = 1_000
"""Payouts returned with a batch."""

# A batch of a wallet; locks nothing.
_BATCH: Final = sa.text(f"SELECT {BATCH_COLUMNS} FROM batches WHERE id = :id AND wallet_id = :wallet_id")

# A batch's payouts by status; locks nothing.
_PAYOUT_TOTALS: Final = sa.text(
    "SELECT status, count(*), sum(amount_cents) FROM payouts WHERE batch_id = :id GROUP BY status"
)


def load_batch(connection: sa.Connection, wallet_id: uuid.UUID, batch_id: uuid.UUID) -> BatchDetails | None:
    """Return a batch of the wallet, or None."""
    row = connection.execute(_BATCH, {"id": batch_id, "wallet_id": wallet_id}).one_or_none()
    if row is None:
        return None
    first = load_batch_payouts(connection, wallet_id, batch_id, PageRequest(BATCH_PAYOUTS_SHOWN_MAX))
    counts = connection.execute(_PAYOUT_TOTALS, {"id": batch_id}).all()
    return BatchDetails(
        BatchRow._make(row),
        list(first.rows) if first else [],
        {row[0]: row[1] for row in counts},
        {row[0]: int(row[2]) for row in counts},
    )


# A batch's number of payouts; locks nothing.
_PAYOUT_COUNT: Final = sa.text("SELECT payout_count FROM batches WHERE id = :id AND wallet_id = :wallet_id")


def load_batch_payouts(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    batch_id: uuid.UUID,
    wanted: PageRequest,
    *,
    status: PayoutStatus | None = None,
) -> Page[PayoutRow] | None:
    """Return a page of a batch's payouts in the order of the request; None if the wallet has no such batch."""
    count = connection.scalar(_PAYOUT_COUNT, {"id": batch_id, "wallet_id": wallet_id})
    if count is None:
        return None
    where, values = "payouts.batch_id = :id", dict[str, Any](id=batch_id)
    if status is not None:
        where, values["status"] = f"{where} AND payouts.status = :status", status.value
        count = connection.scalar(sa.text(f"SELECT count(*) FROM payouts WHERE {where}"), values) or 0
    if wanted.after is not None:
        where, values["after"] = f"{where} AND payouts.id > :after", wanted.after
    rows = connection.execute(
        sa.text(f"""
            SELECT {PAYOUT_COLUMNS} FROM (
                SELECT payouts.*, drivers.name AS driver_name
                FROM payouts JOIN drivers ON drivers.id = payouts.driver_id
                WHERE {where} ORDER BY payouts.id LIMIT :limit OFFSET :skipped
            ) AS found ORDER BY id
        """),
        values | {"limit": wanted.size + 1, "skipped": wanted.skipped},
    ).all()
    return Page([PayoutRow._make(row) for row in rows[: wanted.size]], count, len(rows) > wanted.size)


def load_batch_page(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    wanted: PageRequest,
    *,
    status: BatchStatus | None = None,
    scheduled: bool = False,
) -> Page[BatchRow]:
    """Return a page of the wallet's batches, newest first; with `scheduled`, of those that have a time."""
    where, values = "wallet_id = :wallet_id", dict[str, Any](wallet_id=wallet_id)
    if status is not None:
        where, values["status"] = f"{where} AND status = :status", status.value
    if scheduled:
        where = f"{where} AND scheduled_for IS NOT NULL"
    ids, more = select_page_ids(connection, "batches", where, values, wanted)
    rows = connection.execute(
        sa.text(f"SELECT {BATCH_COLUMNS} FROM batches WHERE id = ANY(:ids) ORDER BY id DESC"), {"ids": ids}
    )
    total = connection.scalar(sa.text(f"SELECT count(*) FROM batches WHERE {where}"), values) or 0
    return Page([BatchRow._make(row) for row in rows], total, more)


def load_scheduled_stats(connection: sa.Connection, wallet_id: uuid.UUID) -> ScheduledStats:
    """Return counts of the wallet's scheduled batches, what the queued ones cost, and the next time."""
    rows = connection.execute(
        sa.text("""
            SELECT status, count(*), sum(upcoming.cents), min(scheduled_for) FROM batches
            LEFT JOIN LATERAL (
                SELECT sum(payouts.amount_cents) AS cents FROM payouts
                WHERE payouts.batch_id = batches.id AND payouts.status = 'validated' AND batches.status = 'queued'
            ) AS upcoming ON true
            WHERE wallet_id = :wallet_id AND scheduled_for IS NOT NULL GROUP BY status
        """),
        {"wallet_id": wallet_id},
    ).all()
    found = {row[0]: row for row in rows}
    shown = (BatchStatus.QUEUED, BatchStatus.PROCESSING, BatchStatus.COMPLETED, BatchStatus.FAILED)
    queued = found.get(BatchStatus.QUEUED)
    return ScheduledStats(
        {status.value: found[status][1] if status in found else 0 for status in shown},
        int(queued[2] or 0) if queued else 0,
        queued[3] if queued else None,
    )


def load_scheduled_outflow(
    connection: sa.Connection, wallet_id: uuid.UUID, first: date, days: int
) -> list[tuple[date, int]]:
    """Return the cents that scheduled batches will reserve on each day (UTC) from `first` on; overdue ones count for
    `first`.
    """
    rows = connection.execute(
        sa.text("""
            SELECT greatest(CAST(scheduled_for AT TIME ZONE 'UTC' AS date), :first) AS day, sum(payouts.amount_cents)
            FROM batches JOIN payouts ON payouts.batch_id = batches.id AND payouts.status = 'validated'
            WHERE batches.wallet_id = :wallet_id AND batches.status = 'queued' AND scheduled_for < :end
            GROUP BY day
        """),
        {"wallet_id": wallet_id, "first": first, "end": first + timedelta(days=days)},
    )
    found = {row[0]: int(row[1]) for row in rows}
    every_day = (first + timedelta(days=number) for number in range(days))
    return [(day, found.get(day, 0)) for day in every_day]
