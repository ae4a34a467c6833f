"""Settlement: turns the provider's payment updates into payout transitions.

Updates may be repeated, late and in any order; the payout ends in the state of the provider's own record. An update
that contradicts our record moves no money: the payout is put on hold for an operator.
"""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.payouts.lifecycle import Move, StartedTransition, finish_transitions, start_transition, status_condition
from shared.payouts.on_hold import put_payouts_on_hold
from shared.payouts.payment_updates import (
    PROGRESS_PAYMENT_STATES,
    KnownPayment,
    PaymentUpdate,
    UpdateResult,
    UpdateStatus,
    classify_update,
    describe_result,
    find_differences,
    settlement_move,
)
from shared.platform.pipelined_queries import Query
from shared.schema.payouts import PayoutStatus

S = PayoutStatus


class Settlement(NamedTuple):
    """Applied updates; `finish_settlement` writes what is not written yet."""

    results: list[UpdateResult]
    """One for each update, in order."""
    transitions: list[StartedTransition]
    polled: list[uuid.UUID]
    """Payouts that the next scheduler tick polls, since an update doesn't say which attempt it is about."""


def settle_payouts(connection: sa.Connection, updates: Sequence[PaymentUpdate], now: datetime) -> list[UpdateResult]:
    """Apply updates; one result for each, in order."""
    settlement = start_settlement(connection, updates, now)
    finish_settlement(connection, settlement, now)
    return settlement.results


def start_settlement(connection: sa.Connection, updates: Sequence[PaymentUpdate], now: datetime) -> Settlement:
    """Lock the payouts, put contradicted ones on hold, and start the transitions; no wallet is locked yet."""
    by_payment, by_payout = _lock_known_payments(connection, updates)
    current = {known.payout_id: known for known in [*by_payment.values(), *by_payout.values()]}
    results: list[UpdateResult] = []
    moves: defaultdict[tuple[PayoutStatus, PayoutStatus], list[Move]] = defaultdict(list)
    polled: list[uuid.UUID] = []
    for update in updates:
        known = by_payment.get(update.payment_id) if update.payment_id else by_payout.get(update.payout_id)
        if known is None:
            results.append(UpdateResult(UpdateStatus.ORPHAN, "no known payment has this id yet", None, None))
            continue
        latest = current[known.payout_id]
        if latest is not known:
            known = known._replace(status=latest.status, on_hold=latest.on_hold)
        differences = find_differences(update, known)
        if not differences and _is_attempt_unclear(update, known):
            polled.append(known.payout_id)
            explanation = "names no payment; the provider is polled"
            results.append(UpdateResult(UpdateStatus.IGNORED, explanation, known.payout_id, known.wallet_id))
            continue
        status, path = (UpdateStatus.MISMATCH, ()) if differences else classify_update(update, known)
        explanation = describe_result(status, update, known, differences)
        results.append(UpdateResult(status, explanation, known.payout_id, known.wallet_id))
        if status is UpdateStatus.MISMATCH and not known.on_hold:
            put_payouts_on_hold(connection, [known.payout_id], explanation, now)
            known = known._replace(on_hold=True)
        source = S(known.status)
        for target in path:
            moves[source, target].append(settlement_move(update, known, target))
            source = target
        current[known.payout_id] = known if source == known.status else known._replace(status=source)
    # Completions first: a payment reported as returned passes through `completed`.
    in_order = sorted(moves.items(), key=lambda item: item[0] != (S.PROCESSING, S.COMPLETED))
    started = [start_transition(connection, edge_moves, *edge, now) for edge, edge_moves in in_order]
    return Settlement(results, started, polled)


def finish_settlement(
    connection: sa.Connection, settlement: Settlement, now: datetime, *queries: Query[Any] | None
) -> None:
    """Finish the transitions, and in the same round trip, before a wallet is locked, run the caller's `queries`."""
    finish_transitions(connection, settlement.transitions, now, *queries)
    if settlement.polled:
        connection.execute(_POLL_NEXT, {"ids": list(settlement.polled), "now": now})


def _is_attempt_unclear(update: PaymentUpdate, known: KnownPayment) -> bool:
    return update.payment_id is None and known.current_attempt > 1 and update.state not in PROGRESS_PAYMENT_STATES


# Makes processing payouts due for a poll. Locks them; they are locked already.
_POLL_NEXT: Final = sa.text(
    f"UPDATE payouts SET next_action_at = :now WHERE id = ANY(:ids) AND {status_condition('processing')}"
)

# Returns the payments named by provider payment id or by our payout id. Locks their payouts in id order.
_KNOWN_PAYMENTS: Final = sa.text("""
    WITH named AS (
        SELECT payout_id, attempt, provider_payment_id, net_cents, recipient_id FROM submission_items
        WHERE provider_payment_id = ANY(CAST(:payments AS text[]))
        UNION ALL
        SELECT id, payouts.attempt, NULL, amount_cents - fee_cents, items.recipient_id
        FROM payouts LEFT JOIN submission_items AS items
             ON items.payout_id = payouts.id AND items.attempt = payouts.attempt AND NOT items.dissolved
        WHERE id = ANY(CAST(:payouts AS uuid[]))
    )
    SELECT payouts.id, payouts.wallet_id, named.provider_payment_id, named.net_cents, payouts.amount_cents,
           wallets.currency, named.recipient_id, payouts.driver_id, named.attempt, payouts.attempt,
           payouts.status, payouts.held_reason IS NOT NULL
    FROM named JOIN payouts ON payouts.id = named.payout_id JOIN wallets ON wallets.id = payouts.wallet_id
    ORDER BY payouts.id FOR UPDATE OF payouts
""")


def _lock_known_payments(
    connection: sa.Connection, updates: Sequence[PaymentUpdate]
) -> tuple[dict[str | None, KnownPayment], dict[uuid.UUID | None, KnownPayment]]:
    """Returns them by provider payment id and by payout id."""
    rows = connection.execute(
        _KNOWN_PAYMENTS,
        {
            "payments": [update.payment_id for update in updates if update.payment_id],
            "payouts": [update.payout_id for update in updates if update.payout_id and not update.payment_id],
        },
    ).all()
    by_payment: dict[str | None, KnownPayment] = {}
    by_payout: dict[uuid.UUID | None, KnownPayment] = {}
    for row in rows:
        known = KnownPayment._make(row)
        by_payout[known.payout_id] = known
        if known.payment_id is not None:
            by_payment[known.payment_id] = known
    return by_payment, by_payout
