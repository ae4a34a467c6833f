"""May money leave? Asked in each transaction that is about to let a request to the provider go.

It may not in reconcile-only, which lasts until the provider's record was compared; nor while nobody has looked whether
this is the database that it was: its server has started again, or the row was copied in from a dump. The first is
written down; the second is seen by whoever asks, at once, whatever was restored under running processes.
"""

import enum
from typing import Final

import sqlalchemy as sa

SAME_DATABASE_IDENTITY: Final = (
    "server_started_at = pg_postmaster_start_time() AND CAST(CAST(xmin AS text) AS bigint) = written_by % 4294967296"
)
"""Whether the row was written in this life of the server, and by the transaction that it says: a logical restore
writes it by another."""

OUTBOUND_ALLOWED: Final = (
    "NOT EXISTS (SELECT FROM installation "
    f"WHERE reconcile_only_since IS NOT NULL OR ({SAME_DATABASE_IDENTITY}) IS NOT TRUE)"
)
"""May money leave? The condition of every statement that takes something to send to the provider."""

NOT_RECONCILE_ONLY: Final = "NOT EXISTS (SELECT FROM installation WHERE reconcile_only_since IS NOT NULL)"
"""May a request be written down? It may while nobody has looked yet, for then it waits for that."""


class OutboundGuard(enum.StrEnum):
    """Whether money may leave."""

    OPEN = "open"

    UNVERIFIED = "unseen"
    """Nobody has looked yet whether this database is an older copy of itself; whoever asks does."""

    RECONCILE_ONLY = "reconcile_only"
    """Not before the provider's record was compared."""


def load_outbound_guard(connection: sa.Connection) -> OutboundGuard:
    """Whether money may leave by this database. One in which no service has ever started has nothing to guard."""
    row = connection.execute(
        sa.text(f"SELECT reconcile_only_since IS NOT NULL, coalesce({SAME_DATABASE_IDENTITY}, false) FROM installation")
    ).one_or_none()
    if row is None:
        return OutboundGuard.OPEN
    if row[0]:
        return OutboundGuard.RECONCILE_ONLY
    return OutboundGuard.OPEN if row[1] else OutboundGuard.UNVERIFIED


def is_reconcile_only(connection: sa.Connection) -> bool:
    """Whether nothing new may be promised either: the balances are known to be old."""
    return load_outbound_guard(connection) is OutboundGuard.RECONCILE_ONLY
