"""Payouts on hold: stopped for an operator because they contradict the provider's records or may be paid already.

After a restore from an older backup, a client may repeat a request whose idempotency key is lost, and it becomes
another payout. It is recognized as a possible double payment by its driver, net amount and description.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Final

import sqlalchemy as sa
import structlog

from shared.platform.ids import PAYOUT, public_id
from shared.platform.pipelined_queries import Query
from shared.schema.controls import CaseKind

logger = structlog.get_logger(__name__)

DOUBLE_PAYMENT_REASON: Final = "it matches Paystream's {}, missing in our records: it may be paid already"

# Puts payouts on hold, and returns those that were not. Locks them; the caller has them locked, or locks one at a time.
_PUT_ON_HOLD: Final = sa.text("""
    UPDATE payouts SET held_reason = :reason, held_at = :now, next_action_at = NULL, updated_at = :now
    WHERE id = ANY(:ids) AND held_reason IS NULL RETURNING id
""")


def put_payouts_on_hold(connection: sa.Connection, payout_ids: Sequence[uuid.UUID], reason: str, now: datetime) -> None:
    """Stop payouts where they are: no money moves, and nothing is sent or polled for them."""
    stopped = connection.scalars(_PUT_ON_HOLD, {"ids": sorted(payout_ids), "reason": reason, "now": now})
    for payout_id in stopped:
        logger.error("payout.held", payout=public_id(PAYOUT, payout_id), why=reason)


# Whether an open case is about a provider payment that we have no record of. Locks nothing.
_HAS_UNMATCHED_PAYMENTS: Final = sa.text("""
    SELECT EXISTS (SELECT FROM reconciliation_cases
                   WHERE kind = :missing_here AND closed_at IS NULL AND payout_id IS NULL)
""")

# Matches payouts one to one with unrecorded payments, and returns the pairs. Locks the matched cases; the caller has
# the payouts locked.
_MATCH_UNRECORDED = """
    WITH unrecorded AS (
        SELECT cases.id, payment_id, mode, theirs ->> 'recipient' AS recipient,
               theirs ->> 'description' AS description, CAST(theirs ->> 'amount' AS bigint) AS cents
        FROM reconciliation_cases AS cases
        WHERE kind = :missing_here AND closed_at IS NULL AND payout_id IS NULL
    ), numbered AS (
        SELECT unrecorded.*, row_number() OVER (PARTITION BY mode, {payee}, cents, description ORDER BY id) AS place
        FROM unrecorded WHERE {known} EXISTS (SELECT FROM drivers WHERE recipient_id = unrecorded.recipient)
    ), outgoing AS (
        SELECT payouts.id, wallets.mode, drivers.recipient_id AS recipient, amount_cents - fee_cents AS cents,
               left(coalesce(nullif(description, ''), 'Payout'), 200) AS description
        FROM payouts JOIN drivers ON drivers.id = driver_id JOIN wallets ON wallets.id = payouts.wallet_id
        WHERE payouts.id = ANY(:ids)
    ), placed AS (
        SELECT outgoing.*, row_number() OVER (PARTITION BY mode, {payee}, cents, description ORDER BY id) AS place
        FROM outgoing
    )
    UPDATE reconciliation_cases AS cases SET payout_id = placed.id
    FROM numbered JOIN placed USING (mode, {payee}, cents, description, place)
    WHERE cases.id = numbered.id AND cases.payout_id IS NULL
    RETURNING placed.id, cases.payment_id
"""
_MATCH_BY_RECIPIENT: Final = sa.text(_MATCH_UNRECORDED.format(payee="recipient", known=""))
# If the driver's row is lost too, the driver has another recipient id after registering again: any driver matches.
_MATCH_UNKNOWN_RECIPIENT: Final = sa.text(
    _MATCH_UNRECORDED.format(payee="cents", known="NOT").replace("cents, cents", "cents")
)


def has_unmatched_payments_query() -> Query[bool]:
    """Query whether the provider has a payment that a payout could repeat."""
    values = {"missing_here": CaseKind.MISSING_HERE.value}
    return Query(_HAS_UNMATCHED_PAYMENTS, values, lambda rows: bool(rows[0][0]))


def hold_double_payments(connection: sa.Connection, payout_ids: Sequence[uuid.UUID], now: datetime) -> set[uuid.UUID]:
    """Put the payouts that may be paid already on hold and return their ids. The caller has them locked.

    Each unrecorded payment stops one payout at most, until its case is closed.
    """
    on_hold: set[uuid.UUID] = set()
    for statement in (_MATCH_BY_RECIPIENT, _MATCH_UNKNOWN_RECIPIENT):
        left = [payout_id for payout_id in payout_ids if payout_id not in on_hold]
        values = {"missing_here": CaseKind.MISSING_HERE.value, "ids": left}
        for payout_id, payment_id in connection.execute(statement, values).all():
            put_payouts_on_hold(connection, [payout_id], DOUBLE_PAYMENT_REASON.format(payment_id), now)
            on_hold.add(payout_id)
    return on_hold
