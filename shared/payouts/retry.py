"""Retrying: another attempt at a failed payout, because a person asked for it; the money is reserved again."""

import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import sqlalchemy as sa

from shared import ledger
from shared.payouts.cancel import lock_payout_statuses, payout_not_found
from shared.payouts.duplicate_loads import duplicate_payout_error, live_payouts_by_load
from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.orders import payability_error
from shared.payouts.rows import PayoutRow
from shared.platform.database import encode_rows
from shared.platform.errors import Conflict, DomainError, InsufficientFunds
from shared.schema.organizations import DuplicateLoads
from shared.schema.payouts import PayoutStatus
from shared.schema.scenarios import Scenario


def retry_wallet_payouts(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    payout_ids: Sequence[uuid.UUID],
    now: datetime,
    *,
    grace: timedelta,
    scenario: Scenario = Scenario.SUCCESS,
) -> dict[uuid.UUID, PayoutRow | DomainError]:
    """Queues those of the wallet's failed payouts that can be paid and are covered; an answer for each. One whose
    load another payout pays for meanwhile is a double: warned of, or refused, by the wallet's policy.

    Funds go in the order asked. A payout about which the provider contradicted itself can't be retried: it may
    have been paid.
    """
    found = lock_payout_statuses(connection, wallet_id, payout_ids)
    details = {row.id: row for row in _details(connection, list(found))}
    left = ledger.lock_wallets(connection, [wallet_id]).get(wallet_id, 0)
    failed = [row for row in details.values() if found[row.id] == PayoutStatus.FAILED and row.load_id is not None]
    live = live_payouts_by_load(connection, {(row.driver_id, row.load_id) for row in failed})
    doubles = {row.id: live[row.driver_id, row.load_id] for row in failed if (row.driver_id, row.load_id) in live}
    alike: defaultdict[tuple[uuid.UUID, str | None], list[uuid.UUID]] = defaultdict(list)
    for row in failed:
        alike[row.driver_id, row.load_id].append(row.id)
    answers: dict[uuid.UUID, PayoutRow | DomainError] = {}
    moves = []
    for payout_id in dict.fromkeys(payout_ids):
        if payout_id not in found:
            answers[payout_id] = payout_not_found(payout_id)
            continue
        row, status = details[payout_id], found[payout_id]
        if status != PayoutStatus.FAILED:
            answers[payout_id] = Conflict(
                f"Only failed payouts can be retried: this one is {status}", code="PAYOUT_NOT_RETRYABLE", status=status
            )
        elif row.held_reason is not None:
            answers[payout_id] = Conflict(
                "The provider's reports on this payout contradict each other; we are looking into it",
                code="PAYOUT_HELD",
                status=status,
            )
        elif refusal := payability_error(
            *(("pending", "pending") if scenario is Scenario.KYC_PENDING else (row.driver_status, row.kyc_status))
        ):
            answers[payout_id] = refusal
        elif payout_id in doubles and row.duplicate_loads == DuplicateLoads.REFUSE:
            answers[payout_id] = duplicate_payout_error(doubles[payout_id], "this one was not retried")
        elif row.amount_cents > left or scenario is Scenario.INSUFFICIENT_FUNDS:
            answers[payout_id] = InsufficientFunds(
                "Insufficient funds", available=left, required=row.amount_cents, status=status
            )
        else:
            left -= row.amount_cents
            for other_id in alike.pop((row.driver_id, row.load_id), ()):
                if other_id != payout_id:
                    doubles.setdefault(other_id, payout_id)
            moves.append(Move(payout_id, "retried by the customer", next_action_at=now + grace))
    retried = {move.payout_id for move in moves}
    _note_doubles(connection, {payout_id: first for payout_id, first in doubles.items() if payout_id in retried})
    moved = transition_payouts(connection, moves, PayoutStatus.FAILED, PayoutStatus.QUEUED, now)
    return answers | {row.id: row for row in moved.rows}


def _note_doubles(connection: sa.Connection, doubles: Mapping[uuid.UUID, uuid.UUID]) -> None:
    if doubles:
        connection.execute(
            sa.text("""
                UPDATE payouts SET duplicate_of = doubles.first
                FROM json_to_recordset(CAST(:doubles AS json)) AS doubles (id uuid, first uuid)
                WHERE payouts.id = doubles.id
            """),
            {"doubles": encode_rows({"id": payout_id, "first": first} for payout_id, first in doubles.items())},
        )


def _details(connection: sa.Connection, payout_ids: Sequence[uuid.UUID]) -> Sequence[sa.Row[tuple[object, ...]]]:
    return connection.execute(
        sa.text("""
            SELECT payouts.id, amount_cents, held_reason, driver_id, load_id, duplicate_loads,
                   drivers.status AS driver_status, kyc_status
            FROM payouts JOIN drivers ON drivers.id = driver_id JOIN wallets ON wallets.id = payouts.wallet_id
            WHERE payouts.id = ANY(:ids)
        """),
        {"ids": list(payout_ids)},
    ).all()
