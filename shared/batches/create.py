"""Create batches: all payouts are stored, or none is. No money moves before the release."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared import ledger
from shared.payouts.accept import write_payouts
from shared.payouts.duplicate_loads import add_live_payout, live_payouts_by_load
from shared.payouts.orders import OrderContext, PayoutOrder, ordered_loads, validate_order
from shared.payouts.rows import PayoutRow
from shared.platform.errors import DomainError
from shared.schema.batch_rows import BatchRow
from shared.schema.payouts import BatchStatus, Rail

REJECTED_ITEMS_SHOWN_MAX: Final = 100
"""Rejected items listed in the error of `insert_batch`; a quote lists all."""


class NewBatch(NamedTuple):
    """A batch to create."""

    id: uuid.UUID
    wallet_id: uuid.UUID
    name: str
    rail: Rail
    scheduled_for: datetime | None
    orders: Sequence[PayoutOrder | DomainError]
    """Its payouts, in order; an error where the item was not valid."""


class ItemsRejected(DomainError):
    """Some payouts of a batch can't be accepted, so none was; `details.items` lists them."""

    def __init__(
        self, rejected: Sequence[tuple[int, DomainError]], count: int, *, shown: int = REJECTED_ITEMS_SHOWN_MAX
    ) -> None:
        position, first = rejected[0]
        super().__init__(
            f"{len(rejected)} of {count} payouts can't be accepted; the first, payouts[{position}]: {first.message}",
            code=first.code,
            field=f"payouts[{position}]",
            refused=len(rejected),
            items=[
                {"index": index, "error": error.message, "code": error.code, "details": error.details}
                for index, error in rejected[:shown]
            ],
        )
        self.status = first.status


class BatchQuote(NamedTuple):
    """What creating a batch would store."""

    rows: list[PayoutRow]
    """Its payouts as they would be stored."""
    available_cents: int
    """The wallet's available balance now."""


def compute_batch_quote(connection: sa.Connection, batch: NewBatch, context: OrderContext, now: datetime) -> BatchQuote:
    """Return what `insert_batch` would store now, without locks.

    Raises:
        ItemsRejected: an item can't be accepted; lists all of them.

    """
    rows = _validate_items(connection, batch, context, now, shown=len(batch.orders))
    return BatchQuote(rows, ledger.load_balances(connection, batch.wallet_id).available_cents)


# Inserts the batch; locks nothing else.
_INSERT_BATCH: Final = sa.text("""
    INSERT INTO batches (id, wallet_id, name, rail, status, payout_count, amount_cents, fee_cents,
                         open_payouts, scheduled_for, created_at, next_action_at)
    VALUES (:id, :wallet_id, :name, :rail, :status, :payout_count, :amount_cents, :fee_cents,
            :payout_count, :scheduled_for, :created_at, :scheduled_for)
""")


def insert_batch(
    connection: sa.Connection, batch: NewBatch, context: OrderContext, now: datetime
) -> tuple[BatchRow, list[PayoutRow]]:
    """Store the batch and its payouts. `context` comes from `load_order_context` for its orders.

    Raises:
        ItemsRejected: an item can't be accepted; nothing was stored.

    """
    ledger.lock_wallets(connection, [batch.wallet_id])
    rows = _validate_items(connection, batch, context, now, shown=REJECTED_ITEMS_SHOWN_MAX)
    row = BatchRow(
        id=batch.id,
        wallet_id=batch.wallet_id,
        name=batch.name,
        rail=batch.rail.value,
        status=BatchStatus.QUEUED.value,
        payout_count=len(rows),
        amount_cents=sum(row.amount_cents for row in rows),
        fee_cents=sum(row.fee_cents for row in rows),
        scheduled_for=batch.scheduled_for,
        released_at=None,
        completed_at=None,
        canceled_at=None,
        failure_code=None,
        failure_message=None,
        created_at=now,
    )
    connection.execute(_INSERT_BATCH, row._asdict())
    write_payouts(connection, rows, now, due=None)
    return row, rows


def _validate_items(
    connection: sa.Connection, batch: NewBatch, context: OrderContext, now: datetime, *, shown: int
) -> list[PayoutRow]:
    rows: list[PayoutRow] = []
    rejected: list[tuple[int, DomainError]] = []
    live = live_payouts_by_load(
        connection, ordered_loads([order for order in batch.orders if isinstance(order, PayoutOrder)])
    )
    for index, order in enumerate(batch.orders):
        try:
            if isinstance(order, DomainError):
                raise order
            row = validate_order(order, context, live, now)
        except DomainError as error:
            rejected.append((index, error))
        else:
            add_live_payout(live, row)
            rows.append(row)
    if rejected:
        raise ItemsRejected(rejected, len(batch.orders), shown=shown)
    return rows
