"""The statement: what changed a wallet's available balance, newest first, each with the balance after it."""

import enum
import uuid
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.ledger import list_counts
from shared.platform.errors import InvalidRequest
from shared.platform.pagination import Page, PageRequest
from shared.schema.ledger import TransferKind

K = TransferKind


class StatementLineType(enum.StrEnum):
    """What a line of the statement is to the customer."""

    CREDIT = "credit"
    """A top-up was confirmed."""

    DEBIT = "debit"
    """A payout reserved its amount."""

    RELEASE = "release"
    """A payout failed or was canceled: its amount came back."""

    RETURN = "return"
    """A driver's bank sent a payout back: its net amount came back."""


TRANSFER_KINDS: Final = {
    StatementLineType.CREDIT: K.TOPUP_SETTLE,
    StatementLineType.DEBIT: K.RESERVE,
    StatementLineType.RELEASE: K.RELEASE,
    StatementLineType.RETURN: K.RETURN,
}
"""The transfers that touch `available`; each type is one kind of them."""

LINES_COUNTED_MAX: Final = 100_000
"""How far the lines between two dates are counted."""
EXPORTED_LINES_MAX: Final = 100_000
"""How many lines one file has at the most."""
_READ_AT_ONCE: Final = 5_000


class StatementLine(NamedTuple):
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
    def type(self) -> StatementLineType:
        """What the line is to the customer."""
        return next(line_type for line_type, kind in TRANSFER_KINDS.items() if kind == self.kind)

    @property
    def change_cents(self) -> int:
        """What it added to the available balance; below zero, what it took."""
        return -self.amount_cents if self.type is StatementLineType.DEBIT else self.amount_cents


class InconsistentStatement(Exception):
    """A line's balance does not follow from the line before it: our books are wrong, and no file says otherwise."""


class StatementFilter(NamedTuple):
    """Which lines."""

    line_type: StatementLineType | None = None
    since: datetime | None = None
    until: datetime | None = None
    """From `since` on, and before `until`."""

    @property
    def dated(self) -> bool:
        """Whether it names a time."""
        return self.since is not None or self.until is not None

    @property
    def kinds(self) -> list[str]:
        """The kinds of transfers that it lets through."""
        return (
            [TRANSFER_KINDS[self.line_type].value]
            if self.line_type
            else [kind.value for kind in TRANSFER_KINDS.values()]
        )

    def where(self) -> str:
        """Its condition. Kinds are written out, so that whatever plan is made, the indexes for them can be used."""
        conditions = ["wallet_id = :wallet_id", f"kind IN ({', '.join(repr(kind) for kind in self.kinds)})"]
        if self.since is not None:
            conditions.append("created_at >= :since")
        if self.until is not None:
            conditions.append("created_at < :until")
        return " AND ".join(conditions)


ALL_LINES: Final = StatementFilter()


def load_statement_page(
    connection: sa.Connection, wallet_id: uuid.UUID, wanted: PageRequest, asked: StatementFilter = ALL_LINES
) -> Page[StatementLine]:
    """A part of the wallet's statement, newest first. A cursor that is no line of this wallet finds nothing.

    The total of a statement between dates is counted to `LINES_COUNTED_MAX`.
    """
    after = (
        ""
        if wanted.after is None
        else (" AND position < (SELECT position FROM transfers WHERE id = :after AND wallet_id = :wallet_id)")
    )
    values = _values(wallet_id, asked)
    where = asked.where()
    if asked.dated:
        total, first, last = _counted(connection, asked, values, LINES_COUNTED_MAX)
        if total < LINES_COUNTED_MAX:  # or the newest lines would be walked through until those of an old day come
            where, values = f"{where} AND position BETWEEN :first AND :last", values | {"first": first, "last": last}
    else:
        total = list_counts.sum_counts(connection, wallet_id, *(f"transfers:{kind}" for kind in asked.kinds))
    lines = _lines(
        connection,
        f"SELECT position FROM transfers WHERE {where}{after} ORDER BY position DESC LIMIT :limit OFFSET :skipped",
        "DESC",
        values | {"limit": wanted.size + 1, "skipped": wanted.skipped, "after": wanted.after},
    )
    return Page([line for _, line in lines[: wanted.size]], total, len(lines) > wanted.size)


def load_all_statement_lines(
    connection: sa.Connection, wallet_id: uuid.UUID, asked: StatementFilter
) -> Iterator[StatementLine]:
    """All lines, oldest first, read a few thousand at a time; in a transaction that sees one moment. Unless it is
    filtered by type, each line's balance is the one before it and what the line changed.

    Raises:
        Invalid: there are more than `EXPORTED_LINES_MAX`.
        Broken: a balance does not follow from the one before it.

    """
    values = _values(wallet_id, asked)
    count, first, last = _counted(connection, asked, values, EXPORTED_LINES_MAX + 1)
    if count > EXPORTED_LINES_MAX:
        raise InvalidRequest(
            f"The statement has more than {EXPORTED_LINES_MAX} lines there; ask for a shorter time with from and to",
            field="from",
        )
    lines = _in_order(connection, asked, values, first, last)
    return lines if asked.line_type is not None else _following(lines)


def _values(wallet_id: uuid.UUID, asked: StatementFilter) -> dict[str, Any]:
    return {"wallet_id": wallet_id, "since": asked.since, "until": asked.until}


def _counted(
    connection: sa.Connection, asked: StatementFilter, values: dict[str, Any], most: int
) -> tuple[int, int, int]:
    """How many lines there are, counted to `most`, and where the first and the last of those counted are."""
    row = connection.execute(
        sa.text(f"""
            SELECT count(*), coalesce(min(position), 0), coalesce(max(position), 0)
            FROM (SELECT position FROM transfers WHERE {asked.where()} LIMIT :most) AS found
        """),
        values | {"most": most},
    ).one()
    return row[0], row[1], row[2]


def _in_order(
    connection: sa.Connection, asked: StatementFilter, values: dict[str, Any], first: int, last: int
) -> Iterator[StatementLine]:
    """The lines between two positions."""
    position = first - 1
    while position < last:
        lines = _lines(
            connection,
            f"SELECT position FROM transfers WHERE {asked.where()} AND position > :after AND position <= :last "
            "ORDER BY position LIMIT :limit",
            "ASC",
            values | {"after": position, "last": last, "limit": _READ_AT_ONCE},
        )
        yield from (line for _, line in lines)
        position = lines[-1][0] if lines else last


def _following(lines: Iterable[StatementLine]) -> Iterator[StatementLine]:
    """The same lines, each of which follows from the one before."""
    before: StatementLine | None = None
    for line in lines:
        if before is not None and line.available_after_cents != before.available_after_cents + line.change_cents:
            raise InconsistentStatement(f"{line.id} does not follow from {before.id}")
        yield line
        before = line


def _lines(
    connection: sa.Connection, positions: str, direction: str, values: dict[str, Any]
) -> list[tuple[int, StatementLine]]:
    """The lines at these positions, each with its position. Positions are found first, from an index alone."""
    rows = connection.execute(
        sa.text(f"""
            SELECT chosen.position, line.id, line.kind, line.amount_cents, available_after_cents, line.payout_id,
                   line.topup_id, coalesce(topups.description, payouts.description), line.created_at
            FROM ({positions}) AS chosen
            JOIN transfers AS line ON line.wallet_id = :wallet_id AND line.position = chosen.position
            LEFT JOIN topups ON topups.id = line.topup_id
            LEFT JOIN payouts ON payouts.id = line.payout_id
            ORDER BY chosen.position {direction}
        """),
        values,
    )
    return [(row[0], StatementLine._make(row[1:])) for row in rows]
