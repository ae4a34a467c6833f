"""Retry: a new attempt at a failed payout, requested by the customer; its amount is reserved again."""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import sqlalchemy as sa

from shared import ledger
from shared.payouts.cancel import lock_payout_statuses, payout_not_found
from shared.payouts.duplicate_loads import DriverLoad, duplicate_payout_error, live_payouts_by_load
from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.orders import payability_error
from shared.payouts.rows import PayoutRow
from shared.platform.database import encode_rows
from shared.platform.errors import Conflict, DomainError, InsufficientFunds
from shared.schema.organizations import DuplicateLoads
from shared.schema.payouts import PayoutStatus
from shared.schema.scenarios import Scenario

# Returns what a retry depends on. Locks nothing; the payouts are locked.
_RETRY_DETAILS: Final = sa.text("""
    SELECT payouts.id, amount_cents, held_reason, driver_id, load_id, duplicate_loads,
           drivers.status AS driver_status, kyc_status
    FROM payouts JOIN drivers ON drivers.id = driver_id JOIN wallets ON wallets.id = payouts.wallet_id
    WHERE payouts.id = ANY(:ids)
""")

# Marks retried payouts as duplicates. Locks them; they are locked already.
_MARK_DUPLICATES: Final = sa.text("""
    UPDATE payouts SET duplicate_of = duplicates.first
    FROM json_to_recordset(CAST(:duplicates AS json)) AS duplicates (id uuid, first uuid)
    WHERE payouts.id = duplicates.id
""")


def retry_wallet_payouts(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    payout_ids: Sequence[uuid.UUID],
    now: datetime,
    *,
    grace: timedelta,
    scenario: Scenario = Scenario.SUCCESS,
) -> dict[uuid.UUID, PayoutRow | DomainError]:
    """Queue the wallet's failed payouts that can be paid; one outcome for each. Funds go in the order of the ids.

    If another payout pays the load by now, the retry is a duplicate: marked or refused, by the wallet's policy.
    """
    statuses = lock_payout_statuses(connection, wallet_id, payout_ids)
    rows = {row.id: row for row in connection.execute(_RETRY_DETAILS, {"ids": list(statuses)})}
    available = ledger.lock_wallets(connection, [wallet_id]).get(wallet_id, 0)
    failed_by_load: defaultdict[DriverLoad, list[uuid.UUID]] = defaultdict(list)
    for row in rows.values():
        if statuses[row.id] == PayoutStatus.FAILED and row.load_id is not None:
            failed_by_load[row.driver_id, row.load_id].append(row.id)
    live = live_payouts_by_load(connection, failed_by_load.keys())
    duplicate_of = {payout_id: live[load] for load, ids in failed_by_load.items() if load in live for payout_id in ids}
    outcomes: dict[uuid.UUID, PayoutRow | DomainError] = {}
    moves = []
    for payout_id in dict.fromkeys(payout_ids):
        if payout_id not in statuses:
            outcomes[payout_id] = payout_not_found(payout_id)
            continue
        row = rows[payout_id]
        error = _retry_error(row, statuses[payout_id], duplicate_of.get(payout_id), available, scenario)
        if error is not None:
            outcomes[payout_id] = error
            continue
        available -= row.amount_cents
        for other_id in failed_by_load.pop((row.driver_id, row.load_id), ()):
            if other_id != payout_id:
                duplicate_of.setdefault(other_id, payout_id)
        moves.append(Move(payout_id, "retried by the customer", next_action_at=now + grace))
    duplicates = [
        {"id": move.payout_id, "first": duplicate_of[move.payout_id]}
        for move in moves
        if move.payout_id in duplicate_of
    ]
    if duplicates:
        connection.execute(_MARK_DUPLICATES, {"duplicates": encode_rows(duplicates)})
    moved = transition_payouts(connection, moves, PayoutStatus.FAILED, PayoutStatus.QUEUED, now)
    return outcomes | {row.id: row for row in moved.rows}


def _retry_error(
    row: Any, status: str, duplicate_of: uuid.UUID | None, available: int, scenario: Scenario
) -> DomainError | None:
    if status != PayoutStatus.FAILED:
        return Conflict(
            f"Only failed payouts can be retried: this one is {status}", code="PAYOUT_NOT_RETRYABLE", status=status
        )
    if row.held_reason is not None:  # it may have been paid
        return Conflict(
            "The provider's reports on this payout contradict each other; we are looking into it",
            code="PAYOUT_HELD",
            status=status,
        )
    pending = scenario is Scenario.KYC_PENDING
    error = payability_error(*(("pending", "pending") if pending else (row.driver_status, row.kyc_status)))
    if error is not None:
        return error
    if duplicate_of is not None and row.duplicate_loads == DuplicateLoads.REFUSE:
        return duplicate_payout_error(duplicate_of, "this one was not retried")
    if row.amount_cents > available or scenario is Scenario.INSUFFICIENT_FUNDS:
        return InsufficientFunds("Insufficient funds", available=available, required=row.amount_cents, status=status)
    return None
