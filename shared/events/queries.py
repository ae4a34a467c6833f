"""The feed: a wallet's events in order, from a place on, for whoever would rather ask than be called.

Ids are made before their transactions commit, and those commit in any order: whoever reads up to the newest event may
miss an older one that is still on its way. So the feed ends a moment ago, before every transaction that is under way.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.platform.ids import first_id_at

CLOCK_SKEW_MAX: Final = timedelta(seconds=0.5)
"""How much later than the database's clock the clock that makes ids may be."""


class EventSlice(NamedTuple):
    """A part of the feed."""

    events: Sequence[Any]
    """Rows of `customer_events`, the oldest first."""
    after: uuid.UUID
    """The place after it: where to go on."""


def load_events(
    connection: sa.Connection, wallet_id: uuid.UUID, after: uuid.UUID | None, types: Sequence[str] | None, *, limit: int
) -> EventSlice:
    """At most `limit` events after a place; or the newest ones there are."""
    settled = connection.scalar(
        sa.text("""
            SELECT least(clock_timestamp(), min(xact_start)) FROM pg_stat_activity
            WHERE datname = current_database() AND backend_xid IS NOT NULL AND pid <> pg_backend_pid()
        """)
    )
    assert isinstance(settled, datetime)
    end = first_id_at(settled - CLOCK_SKEW_MAX)
    conditions = "wallet_id = :wallet_id AND id < :end" + (" AND type = ANY (:types)" if types is not None else "")
    values = {"wallet_id": wallet_id, "end": end, "after": after, "types": types and list(types), "limit": limit}
    if after is None:
        newest = f"SELECT * FROM customer_events WHERE {conditions} ORDER BY id DESC LIMIT :limit"
        rows = connection.execute(sa.text(newest), values).all()[::-1]
        return EventSlice(rows, rows[-1].id if rows else end)
    following = f"SELECT * FROM customer_events WHERE {conditions} AND id > :after ORDER BY id LIMIT :limit"
    rows = list(connection.execute(sa.text(following), values))
    if len(rows) == limit:
        return EventSlice(rows, rows[-1].id)
    return EventSlice(rows, max(end, after))
