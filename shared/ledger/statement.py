"""The statement: what changed a wallet's available balance, newest first, each with the balance after it."""

import enum
import uuid
from datetime import datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.models.ledger import TransferKind

K = TransferKind


class LineType(enum.StrEnum):
    """What a line of the statement is to the customer."""

    CREDIT = "credit"
    """A top-up was confirmed."""

    DEBIT = "debit"
    """A payout reserved its amount."""

    RELEASE = "release"
    """A payout failed or was canceled: its amount came back."""

    RETURN = "return"
    """A driver's bank sent a payout back: its net amount came back."""


KINDS: Final = {
    LineType.CREDIT: K.TOPUP_SETTLE,
    LineType.DEBIT: K.RESERVE,
    LineType.RELEASE: K.RELEASE,
    LineType.RETURN: K.RETURN,
}
"""The transfers that touch `available`; each type is one kind of them."""


class Line(NamedTuple):
    """One line."""

    id: uuid.UUID
    kind: str
    amount_cents: int
    available_after_cents: int
    payout_id: uuid.UUID | None
    topup_id: uuid.UUID | None
    description: str | None
    """The customer's words for the top-up or the payout."""
    created_at: datetime

    @property
    def type(self) -> LineType:
        """What the line is to the customer."""
        return next(line_type for line_type, kind in KINDS.items() if kind == self.kind)


def page(
    connection: sa.Connection, wallet_id: uuid.UUID, *, number: int, size: int, line_type: LineType | None = None
) -> tuple[list[Line], int]:
    """Page `number` (from 1) of the wallet's statement, newest first, and how many lines there are in all."""
    kinds = [KINDS[line_type]] if line_type else list(KINDS.values())
    values = {
        "wallet_id": wallet_id,
        "kinds": [kind.value for kind in kinds],
        "size": size,
        "skipped": (number - 1) * size,
    }
    total = connection.scalar(
        sa.text("SELECT count(*) FROM transfers WHERE wallet_id = :wallet_id AND kind = ANY(:kinds)"), values
    )
    rows = connection.execute(
        sa.text("""
            SELECT transfers.id, transfers.kind, transfers.amount_cents, available_after_cents, transfers.payout_id,
                   transfers.topup_id, coalesce(topups.description, payouts.description), transfers.created_at
            FROM transfers
            LEFT JOIN topups ON topups.id = transfers.topup_id
            LEFT JOIN payouts ON payouts.id = transfers.payout_id
            WHERE transfers.wallet_id = :wallet_id AND transfers.kind = ANY(:kinds)
            ORDER BY transfers.position DESC LIMIT :size OFFSET :skipped
        """),
        values,
    )
    return [Line._make(row) for row in rows], total or 0
