"""Pagination of lists, newest first: by page number or by cursor."""

import uuid
from collections.abc import Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import sqlalchemy as sa

from shared.platform.errors import InvalidRequest

Row = TypeVar("Row")

PAGE_OFFSET_MAX: Final = 100_000
"""Rows that a page number may skip. Postgres reads each skipped row, so longer lists need the cursor."""


class PageRequest(NamedTuple):
    """The requested part of a list: a page by number, or the items after a cursor."""

    size: int
    number: int | None = 1
    """From 1; None where a cursor is given."""
    after: uuid.UUID | None = None
    """The cursor: the id of the last item that the caller has."""

    @property
    def skipped(self) -> int:
        """The number of rows before the page; raises InvalidRequest beyond `PAGE_OFFSET_MAX`."""
        skipped = ((self.number or 1) - 1) * self.size
        if skipped > PAGE_OFFSET_MAX:
            raise InvalidRequest(
                f"page goes {skipped} items deep; beyond {PAGE_OFFSET_MAX} follow nextCursor with the parameter cursor",
                field="page",
            )
        return skipped


class Page(NamedTuple, Generic[Row]):
    """A part of a list."""

    rows: Sequence[Row]
    total: int
    more: bool
    """Whether more rows follow."""


def select_page_ids(
    connection: sa.Connection, table: str, where: str, values: dict[str, Any], wanted: PageRequest
) -> tuple[list[uuid.UUID], bool]:
    """Select the ids of one page, newest first, and whether more rows follow."""
    # Only ids: Postgres then reads skipped rows from the index alone.
    after = " AND id < :after" if wanted.after is not None else ""
    found = list(
        connection.scalars(
            sa.text(f"SELECT id FROM {table} WHERE {where}{after} ORDER BY id DESC LIMIT :limit OFFSET :skipped"),
            values | {"limit": wanted.size + 1, "skipped": wanted.skipped, "after": wanted.after},
        )
    )
    return found[: wanted.size], len(found) > wanted.size
