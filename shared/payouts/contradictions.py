"""Holding: a payout about which the provider contradicts our record stops until a person has looked."""

import uuid
from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa
import structlog

from shared.platform.ids import PAYOUT, public_id

logger = structlog.get_logger(__name__)


def put_payouts_on_hold(connection: sa.Connection, payout_ids: Sequence[uuid.UUID], reason: str, now: datetime) -> None:
    """Stops payouts where they are: no money moves, nothing is sent or asked for them any more."""
    held = connection.scalars(
        sa.text("""
            UPDATE payouts SET held_reason = :reason, held_at = :now, next_action_at = NULL, updated_at = :now
            WHERE id = ANY(:ids) AND held_reason IS NULL RETURNING id
        """),
        {"ids": sorted(payout_ids), "reason": reason, "now": now},
    )
    for payout_id in held:
        logger.error("payout.held", payout=public_id(PAYOUT, payout_id), why=reason)
