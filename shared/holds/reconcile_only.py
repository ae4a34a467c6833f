"""Outbound guard: may money leave? Checked in every transaction that prepares or claims a request to the provider.

Not in reconcile-only mode, until the provider's record was compared; nor while the database identity is unverified,
because the server restarted or the row came from a dump, even if that happens under running processes.
"""

import enum
from typing import Final

import sqlalchemy as sa

SAME_DATABASE_IDENTITY: Final = (
    "server_started_at = pg_postmaster_start_time() AND CAST(CAST(xmin AS text) AS bigint) = written_by % 4294967296"
)
"""SQL condition: the row was written since the server started, by the transaction that it names. A logical restore
writes it in another transaction.
"""

OUTBOUND_ALLOWED: Final = (
    "NOT EXISTS (SELECT FROM installation "
    f"WHERE reconcile_only_since IS NOT NULL OR ({SAME_DATABASE_IDENTITY}) IS NOT TRUE)"
)
"""SQL condition of every statement that claims something to send to the provider."""

NOT_RECONCILE_ONLY: Final = "NOT EXISTS (SELECT FROM installation WHERE reconcile_only_since IS NOT NULL)"
"""SQL condition of statements that write a request down: allowed with an unverified identity, since sending waits."""


class OutboundGuard(enum.StrEnum):
    """Whether money may leave."""

    OPEN = "open"

    UNVERIFIED = "unverified"
    """The database identity was not checked since the server started or the database was restored."""

    RECONCILE_ONLY = "reconcile_only"
    """Not until the provider's record was compared."""


def load_outbound_guard(connection: sa.Connection) -> OutboundGuard:
    """Return whether money may leave; a database without an `installation` row is open."""
    row = connection.execute(
        sa.text(f"SELECT reconcile_only_since IS NOT NULL, coalesce({SAME_DATABASE_IDENTITY}, false) FROM installation")
    ).one_or_none()
    if row is None:
        return OutboundGuard.OPEN
    if row[0]:
        return OutboundGuard.RECONCILE_ONLY
    return OutboundGuard.OPEN if row[1] else OutboundGuard.UNVERIFIED


def is_reconcile_only(connection: sa.Connection) -> bool:
    """Return whether new payouts are rejected too, because balances are out of date."""
    return load_outbound_guard(connection) is OutboundGuard.RECONCILE_ONLY
