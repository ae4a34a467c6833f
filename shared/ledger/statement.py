"""The statement: every change of a wallet's available balance, newest first, each with the balance after it."""

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
    """The type of a statement line, as customers see it."""

    CREDIT = "credit"
    """A confirmed top-up."""

    DEBIT = "debit"
    """A payout's reservation."""

    RELEASE = "release"
    """The reservation of a failed or canceled payout, available again."""

    RETURN = "return"
    """The net amount of a payout that the driver's bank returned."""


TRANSFER_KINDS: Final = {
    StatementLineType.CREDIT: K.TOPUP_SETTLE,
    StatementLineType.DEBIT: K.RESERVE,
    StatementLineType.RELEASE: K.RELEASE,
    StatementLineType.RETURN: K.RETURN,
}
"""The transfer kind of each line type: all that change the available balance."""

LINES_COUNTED_MAX: Final = 100_000
"""Lines between two dates are counted up to this number."""
EXPORTED_LINES_MAX: Final = 100_000
"""The most lines in one file."""
_LINES_READ_AT_ONCE: Final = 5_000


class StatementLine(NamedTuple):
    """One line of the statement."""

    id: uuid.UUID
    kind: str
    amount_cents: int
    available_after_cents: int
    payout_id: uuid.UUID | None
    topup_id: uuid.UUID | None
    description: str | None
    """The customer's description of the top-up or payout."""
    created_at: datetime

    @property
    def type(self) -> StatementLineType:
        """The line's type."""
        return next(line_type for line_type, kind in TRANSFER_KINDS.items() if kind == self.kind)

    @property
    def change_cents(self) -> int:
        """The change of the available balance, negative for a debit."""
        return -self.amount_cents if self.type is StatementLineType.DEBIT else self.amount_cents


class InconsistentStatement(Exception):
    """A line's balance does not follow from the line before it: the books are wrong, and no file is produced."""


class StatementFilter(NamedTuple):
    """Which lines to return."""

    line_type: StatementLineType | None = None
    since: datetime | None = None
    """Inclusive."""
    until: datetime | None = None
    """Exclusive."""

    @property
    def is_dated(self) -> bool:
        """Whether it limits the time."""
        return self.since is not None or self.until is not None

    @property
    def kinds(self) -> list[str]:
        """The transfer kinds that it includes."""
        if self.line_type:
            return [TRANSFER_KINDS[self.line_type].value]
        return [kind.value for kind in TRANSFER_KINDS.values()]

    def where(self) -> str:
        """The SQL condition. Kinds are literals: any plan can then use their partial indexes."""
        conditions = ["wallet_id = :wallet_id", f"kind IN ({', '.join(repr(kind) for kind in self.kinds)})"]
        if self.since is not None:
            conditions.append("created_at >= :since")
        if self.until is not None:
            conditions.append("created_at < :until")
        return " AND ".join(conditions)


ALL_LINES: Final = StatementFilter()


def load_statement_page(
    connection: sa.Connection, wallet_id: uuid.UUID, wanted: PageRequest, lines: StatementFilter = ALL_LINES
) -> Page[StatementLine]:
    """A page of the wallet's statement, newest first; empty if the cursor is no line of this wallet.

    The total of a dated statement is counted up to `LINES_COUNTED_MAX`.
    """
    after = ""
    if wanted.after is not None:
        after = " AND position < (SELECT position FROM transfers WHERE id = :after AND wallet_id = :wallet_id)"
    values = _values(wallet_id, lines)
    where = lines.where()
    if lines.is_dated:
        total, first, last = _count(connection, lines, values, LINES_COUNTED_MAX)
        if total < LINES_COUNTED_MAX:  # without positions, an old day is found by scanning all newer lines
            where, values = f"{where} AND position BETWEEN :first AND :last", values | {"first": first, "last": last}
    else:
        total = list_counts.sum_counts(connection, wallet_id, *(f"transfers:{kind}" for kind in lines.kinds))
    found = _load_lines(
        connection,
        f"SELECT position FROM transfers WHERE {where}{after} ORDER BY position DESC LIMIT :limit OFFSET :skipped",
        "DESC",
        values | {"limit": wanted.size + 1, "skipped": wanted.skipped, "after": wanted.after},
    )
    return Page([line for _, line in found[: wanted.size]], total, len(found) > wanted.size)


def load_all_statement_lines(
    connection: sa.Connection, wallet_id: uuid.UUID, lines: StatementFilter
) -> Iterator[StatementLine]:
    """All lines, oldest first, read in slices; the transaction must see one snapshot.

    Without a line type, each balance is checked to follow from the line before.

    Raises:
        InvalidRequest: there are more than `EXPORTED_LINES_MAX` lines.
        InconsistentStatement: a balance does not follow from the one before it.

    """
    values = _values(wallet_id, lines)
    count, first, last = _count(connection, lines, values, EXPORTED_LINES_MAX + 1)
    if count > EXPORTED_LINES_MAX:
        raise InvalidRequest(
            f"The statement has more than {EXPORTED_LINES_MAX} lines; limit the time with `from` and `to`",
            field="from",
        )
    found = _load_slices(connection, lines, values, first, last)
    return found if lines.line_type is not None else _check_balances(found)


def _values(wallet_id: uuid.UUID, lines: StatementFilter) -> dict[str, Any]:
    return {"wallet_id": wallet_id, "since": lines.since, "until": lines.until}


# Counts lines up to :max, and returns the first and the last position of those counted. Locks nothing.
_COUNT_LINES: Final = """
    SELECT count(*), coalesce(min(position), 0), coalesce(max(position), 0)
    FROM (SELECT position FROM transfers WHERE {where} LIMIT :max) AS found
"""

# Returns the lines at the positions that a subquery finds from an index alone. Locks nothing.
_LINES: Final = """
    SELECT chosen.position, line.id, line.kind, line.amount_cents, available_after_cents, line.payout_id,
           line.topup_id, coalesce(topups.description, payouts.description), line.created_at
    FROM ({positions}) AS chosen
    JOIN transfers AS line ON line.wallet_id = :wallet_id AND line.position = chosen.position
    LEFT JOIN topups ON topups.id = line.topup_id
    LEFT JOIN payouts ON payouts.id = line.payout_id
    ORDER BY chosen.position {direction}
"""


def _count(
    connection: sa.Connection, lines: StatementFilter, values: dict[str, Any], max_lines: int
) -> tuple[int, int, int]:
    statement = sa.text(_COUNT_LINES.format(where=lines.where()))
    row = connection.execute(statement, values | {"max": max_lines}).one()
    return row[0], row[1], row[2]


def _load_slices(
    connection: sa.Connection, lines: StatementFilter, values: dict[str, Any], first: int, last: int
) -> Iterator[StatementLine]:
    position = first - 1
    while position < last:
        found = _load_lines(
            connection,
            f"SELECT position FROM transfers WHERE {lines.where()} AND position > :after AND position <= :last "
            "ORDER BY position LIMIT :limit",
            "ASC",
            values | {"after": position, "last": last, "limit": _LINES_READ_AT_ONCE},
        )
        yield from (line for _, line in found)
        position = found[-1][0] if found else last


def _check_balances(lines: Iterable[StatementLine]) -> Iterator[StatementLine]:
    before: StatementLine | None = None
    for line in lines:
        if before is not None and line.available_after_cents != before.available_after_cents + line.change_cents:
            raise InconsistentStatement(f"{line.id} does not follow from {before.id}")
        yield line
        before = line


def _load_lines(
    connection: sa.Connection, positions: str, direction: str, values: dict[str, Any]
) -> list[tuple[int, StatementLine]]:
    rows = connection.execute(sa.text(_LINES.format(positions=positions, direction=direction)), values)
    return [(row[0], StatementLine._make(row[1:])) for row in rows]
