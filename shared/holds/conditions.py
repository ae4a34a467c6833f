"""Is this held? The condition that every statement asks which sends money, or rings for what would.

The deciding one is `shared.payouts.submission_leases.claim_submissions`: only a leased submission may be sent. Where
its turn comes more than a second later, the client looks again. So a hold takes effect within a second of its commit.
"""

import uuid
from typing import Final

import sqlalchemy as sa

from shared.schema.payouts import Rail

HOLD_EFFECT_SECONDS: Final = 1.0
"""How long after it was claimed a submission may set out without looking once more whether its money is held."""


def on_hold_condition(wallet: str, rail: str) -> str:
    """The SQL condition that an active hold covers the wallet and the rail in these columns. One row in a table of a
    few, so it costs nothing where nothing is held.
    """
    return f"EXISTS (SELECT FROM outgoing_holds AS hold WHERE hold.lifted_at IS NULL AND {_covers(wallet, rail)})"


def hold_kind_expression(wallet: str, rail: str) -> str:
    """The SQL expression for the kind of the hold that covers them, the gravest; null: none does."""
    return (
        f"(SELECT min(hold.kind) FROM outgoing_holds AS hold WHERE hold.lifted_at IS NULL AND {_covers(wallet, rail)})"
    )


def unheld_since_expression(wallet: str, rail: str) -> str:
    """The SQL expression for since when no hold covers them: now where one does, null where none ever did."""
    return (
        "(SELECT max(coalesce(hold.lifted_at, clock_timestamp())) FROM outgoing_holds AS hold "
        f"WHERE {_covers(wallet, rail)})"
    )


def is_on_hold(connection: sa.Connection, wallet_id: uuid.UUID, rail: Rail) -> bool:
    """Whether an active hold covers the wallet and the rail."""
    statement = sa.text(f"SELECT {on_hold_condition('CAST(:wallet_id AS uuid)', 'CAST(:rail AS text)')}")
    return bool(connection.scalar(statement, {"wallet_id": wallet_id, "rail": rail.value}))


def _covers(wallet: str, rail: str) -> str:
    return f"(hold.wallet_id IS NULL OR hold.wallet_id = {wallet}) AND (hold.rail IS NULL OR hold.rail = {rail})"


HOLD_RECHECK_SECONDS: Final = 300.0
"""How long what is due and held is left alone: the tick does not spin. Lifting makes it due at once."""
