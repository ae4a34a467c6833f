"""The statement: what changed a wallet's available balance, newest first, each with the balance after it."""

import enum
import uuid
from datetime import datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared import counts
from shared.lists import Page, Wanted
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
    connection: sa.Connection, wallet_id: uuid.UUID, wanted: Wanted, *, line_type: LineType | None = None
) -> Page[Line]:
    """A part of the wallet's statement, newest first. A cursor that is no line of this wallet finds nothing."""
    kinds = [KINDS[line_type].value] if line_type else [kind.value for kind in KINDS.values()]
    after = (
        ""
        if wanted.after is None
        else (" AND position < (SELECT position FROM transfers WHERE id = :after AND wallet_id = :wallet_id)")
    )
    rows = connection.execute(
        sa.text(f"""
            SELECT chosen.id, chosen.kind, chosen.amount_cents, available_after_cents, chosen.payout_id,
                   chosen.topup_id, coalesce(topups.description, payouts.description), chosen.created_at
            FROM (
                SELECT * FROM transfers WHERE wallet_id = :wallet_id AND kind = ANY(:kinds){after}
                ORDER BY position DESC LIMIT :limit OFFSET :skipped
            ) AS chosen
            LEFT JOIN topups ON topups.id = chosen.topup_id
            LEFT JOIN payouts ON payouts.id = chosen.payout_id
            ORDER BY chosen.position DESC
        """),
        {
            "wallet_id": wallet_id,
            "kinds": kinds,
            "limit": wanted.size + 1,
            "skipped": wanted.skipped,
            "after": wanted.after,
        },
    ).all()
    return Page(
        [Line._make(row) for row in rows[: wanted.size]],
        counts.total(connection, wallet_id, *(f"transfers:{kind}" for kind in kinds)),
        len(rows) > wanted.size,
    )
