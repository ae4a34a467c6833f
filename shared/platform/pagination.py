"""Lists: which part of one is wanted, by page number or by cursor, and what came of it."""

import uuid
from collections.abc import Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import sqlalchemy as sa

from shared.platform.errors import InvalidRequest

Row = TypeVar("Row")

PAGE_OFFSET_MAX: Final = 100_000
"""Rows that a page number may skip; each is read and thrown away, so whoever goes further uses the cursor."""


class PageRequest(NamedTuple):
    """Which part of a list: a page by number (from 1), or what comes after an item. Lists are newest first."""

    size: int
    number: int | None = 1
    """None where a cursor is given."""
    after: uuid.UUID | None = None
    """The cursor: the id of the last item that the caller has."""

    @property
    def skipped(self) -> int:
        """How many rows come before the page.

        Raises:
            Invalid: more than a page number may skip.

        """
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
    """Whether anything comes after it."""


def select_page_ids(
    connection: sa.Connection, table: str, where: str, values: dict[str, Any], wanted: PageRequest
) -> tuple[list[uuid.UUID], bool]:
    """The ids of the wanted rows of a table whose ids are in the order of their making, newest first, and whether
    there are more. Ids alone, so that rows skipped are read from the index.
    """
    after = " AND id < :after" if wanted.after is not None else ""
    found = list(
        connection.scalars(
            sa.text(f"SELECT id FROM {table} WHERE {where}{after} ORDER BY id DESC LIMIT :limit OFFSET :skipped"),
            values | {"limit": wanted.size + 1, "skipped": wanted.skipped, "after": wanted.after},
        )
    )
    return found[: wanted.size], len(found) > wanted.size
