"""Handing in a batch: all of its payouts are written down, or none is. No money moves before its release.

`compute_batch_quote` says beforehand what `insert_batch` would say, and writes nothing.
"""

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
"""How many of the items at fault the answer to `insert_batch` lists; a quote lists all."""


class NewBatch(NamedTuple):
    """A batch to hand in."""

    id: uuid.UUID
    wallet_id: uuid.UUID
    name: str
    rail: Rail
    scheduled_for: datetime | None
    orders: Sequence[PayoutOrder | DomainError]
    """Its payouts, in order; a refusal where the item could not even be read."""


class ItemsRejected(DomainError):
    """Some of a batch's payouts can't be accepted, so none was; `details.items` says which and why."""

    def __init__(
        self, refused: Sequence[tuple[int, DomainError]], count: int, *, shown: int = REJECTED_ITEMS_SHOWN_MAX
    ) -> None:
        place, first = refused[0]
        super().__init__(
            f"{len(refused)} of {count} payouts can't be accepted; the first, payouts[{place}]: {first.message}",
            code=first.code,
            field=f"payouts[{place}]",
            refused=len(refused),
            items=[
                {"index": index, "error": refusal.message, "code": refusal.code, "details": refusal.details}
                for index, refusal in refused[:shown]
            ],
        )
        self.status = first.status


class BatchQuote(NamedTuple):
    """What a batch would come to."""

    rows: list[PayoutRow]
    """Its payouts as they would be written."""
    available_cents: int
    """What the wallet could pay now."""


def compute_batch_quote(connection: sa.Connection, batch: NewBatch, known: OrderContext, now: datetime) -> BatchQuote:
    """What `insert_batch` would write, at this moment. Locks nothing, so others may be first.

    Raises:
        ItemsRefused: an item could not be accepted; every one is named.

    """
    rows = _checked(connection, batch, known, now, refusals_shown=len(batch.orders))
    return BatchQuote(rows, ledger.load_balances(connection, batch.wallet_id).available_cents)


def insert_batch(
    connection: sa.Connection, batch: NewBatch, known: OrderContext, now: datetime
) -> tuple[BatchRow, list[PayoutRow]]:
    """Writes the batch and its payouts down. `known` is what `load_order_context` read for its orders.

    Raises:
        ItemsRefused: an item can't be accepted; nothing was written.

    """
    ledger.lock_wallets(connection, [batch.wallet_id])
    rows = _checked(connection, batch, known, now, refusals_shown=REJECTED_ITEMS_SHOWN_MAX)
    made = BatchRow(
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
    connection.execute(
        sa.text("""
            INSERT INTO batches (id, wallet_id, name, rail, status, payout_count, amount_cents, fee_cents,
                                 open_payouts, scheduled_for, created_at, next_action_at)
            VALUES (:id, :wallet_id, :name, :rail, :status, :payout_count, :amount_cents, :fee_cents,
                    :payout_count, :scheduled_for, :created_at, :scheduled_for)
        """),
        made._asdict(),
    )
    write_payouts(connection, rows, now, due=None)
    return made, rows


def _checked(
    connection: sa.Connection, batch: NewBatch, known: OrderContext, now: datetime, *, refusals_shown: int
) -> list[PayoutRow]:
    """The payouts that the orders become, all of them or an `ItemsRejected`."""
    rows: list[PayoutRow] = []
    refused: list[tuple[int, DomainError]] = []
    live = live_payouts_by_load(
        connection, ordered_loads([order for order in batch.orders if isinstance(order, PayoutOrder)])
    )
    for index, order in enumerate(batch.orders):
        try:
            if isinstance(order, DomainError):
                raise order
            row = validate_order(order, known, live, now)
        except DomainError as refusal:
            refused.append((index, refusal))
        else:
            add_live_payout(live, row)
            rows.append(row)
    if refused:
        raise ItemsRejected(refused, len(batch.orders), shown=refusals_shown)
    return rows
