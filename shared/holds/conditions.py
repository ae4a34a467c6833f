"""SQL conditions for outgoing holds, used by every statement that sends money or enqueues work to send it.

`shared.payouts.submission_leases.claim_submissions` decides; the client checks again before it sends a submission more
than a second after its claim.
"""

import uuid
from typing import Final

import sqlalchemy as sa

from shared.schema.payouts import Rail

HOLD_EFFECT_SECONDS: Final = 1.0
"""How long after its claim a submission may be sent without checking the holds again."""

HOLD_RECHECK_SECONDS: Final = 300.0
"""How long the tick skips a due row that is on hold, to avoid a busy loop. Lifting the hold makes it due at once."""


def on_hold_condition(wallet: str, rail: str) -> str:
    """SQL condition: an active hold covers the wallet and the rail in these columns."""
    return f"EXISTS (SELECT FROM outgoing_holds AS hold WHERE hold.lifted_at IS NULL AND {_covers(wallet, rail)})"


def hold_kind_expression(wallet: str, rail: str) -> str:
    """SQL expression: the most severe kind of the active holds that cover them, or null."""
    return (
        f"(SELECT min(hold.kind) FROM outgoing_holds AS hold WHERE hold.lifted_at IS NULL AND {_covers(wallet, rail)})"
    )


def unheld_since_expression(wallet: str, rail: str) -> str:
    """SQL expression: when the last hold that covers them was lifted; now if one is active, or null."""
    return (
        "(SELECT max(coalesce(hold.lifted_at, clock_timestamp())) FROM outgoing_holds AS hold "
        f"WHERE {_covers(wallet, rail)})"
    )


def is_on_hold(connection: sa.Connection, wallet_id: uuid.UUID, rail: Rail) -> bool:
    """Return whether an active hold covers the wallet and the rail."""
    statement = sa.text(f"SELECT {on_hold_condition('CAST(:wallet_id AS uuid)', 'CAST(:rail AS text)')}")
    return bool(connection.scalar(statement, {"wallet_id": wallet_id, "rail": rail.value}))


def _covers(wallet: str, rail: str) -> str:
    return f"(hold.wallet_id IS NULL OR hold.wallet_id = {wallet}) AND (hold.rail IS NULL OR hold.rail = {rail})"
