"""Settling: what the provider says of payments, by webhook or when asked, becomes transitions.

Reports may come in any order, repeated and late; the payout ends in the state that the provider's record says.
A report that contradicts our record touches no money: the payout is held for a person.
"""

import enum
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
import structlog

from shared.payouts.allowed_edges import status_condition
from shared.payouts.contradictions import put_payouts_on_hold
from shared.payouts.lifecycle import Move, finish_transitions, start_transition
from shared.platform import safeguards
from shared.platform.ids import DRIVER, PAYOUT, public_id
from shared.platform.pipelined_queries import Query
from shared.schema.payouts import PayoutStatus

logger = structlog.get_logger(__name__)

S = PayoutStatus


class UpdateStatus(enum.StrEnum):
    """What became of a report; the names are those of `ProviderEventStatus`."""

    APPLIED = "applied"
    IGNORED = "ignored"
    ORPHAN = "orphan"
    MISMATCH = "mismatch"


class PaymentUpdate(NamedTuple):
    """What the provider says of one payment."""

    state: str
    """The provider's word for it, as in `completed`."""
    payment_id: str | None
    """The provider's payment, where the report names it."""
    payout_id: uuid.UUID | None
    """Our payout, where the report names that instead."""
    amount_cents: int | None
    failure_code: str | None
    failure_reason: str | None
    source: str
    """Who said so, for the history: `webhook` or `poll`."""
    currency: str | None = None
    recipient_id: str | None = None
    """The driver as the provider knows him."""
    driver_id: uuid.UUID | None = None
    """The driver as we know him."""
    contradicted: bool = False
    """Whether the provider has said something else under the same event id: neither is to be trusted."""


class UpdateResult(NamedTuple):
    """What became of one report."""

    verdict: UpdateStatus
    outcome: str
    """In a few words."""
    payout_id: uuid.UUID | None
    wallet_id: uuid.UUID | None
    """Whose payout it is."""


class _Known(NamedTuple):
    """A payment that we asked for, and its payout as it was when we locked it."""

    payout_id: uuid.UUID
    wallet_id: uuid.UUID
    payment_id: str | None
    net_cents: int
    amount_cents: int
    currency: str
    recipient_id: str | None
    """Whom we asked the provider to pay; None: we have not asked yet."""
    driver_id: uuid.UUID
    attempt: int
    """The attempt that the payment belongs to."""
    current_attempt: int
    status: str
    held: bool


SETTLEMENT_PATHS: dict[tuple[PayoutStatus, str], tuple[PayoutStatus, ...]] = {
    # (payout's status, provider's state) → the statuses to go through
    (S.PROCESSING, "completed"): (S.COMPLETED,),
    (S.PROCESSING, "failed"): (S.FAILED,),
    (S.PROCESSING, "canceled"): (S.FAILED,),
    (S.PROCESSING, "returned"): (S.COMPLETED, S.RETURNED),
    (S.COMPLETED, "returned"): (S.RETURNED,),
}

CONTRADICTIONS: frozenset[tuple[PayoutStatus, str]] = frozenset(
    {
        # Its money is available again, and the provider says that it was paid.
        (S.FAILED, "completed"),
        (S.FAILED, "returned"),
        (S.CANCELED, "completed"),
        (S.CANCELED, "returned"),
        # We have not even asked for it.
        (S.VALIDATED, "completed"),
        (S.VALIDATED, "returned"),
        (S.QUEUED, "completed"),
        (S.QUEUED, "returned"),
        # It counts as paid, and the provider says that it never was.
        (S.COMPLETED, "failed"),
        (S.COMPLETED, "canceled"),
        (S.RETURNED, "failed"),
        (S.RETURNED, "canceled"),
    }
)

FINAL_PAYMENT_STATES = frozenset({"completed", "failed", "canceled", "returned"})
"""States that decide something."""

PROGRESS_PAYMENT_STATES = frozenset({"created", "validated", "queued", "processing", "sent"})
"""States on the way: understood, nothing to do."""


def settle_payouts(
    connection: sa.Connection,
    reports: Sequence[PaymentUpdate],
    now: datetime,
    beside: Callable[[list[UpdateResult]], Query[Any] | None] = lambda answers: None,
) -> list[UpdateResult]:
    """Applies reports; an answer for each, in order. `beside` says what else is to be written, of the answers, in the
    same round trip: it is done before a wallet is locked.
    """
    by_payment, by_payout = _known(connection, reports)
    current = {known.payout_id: known for known in [*by_payment.values(), *by_payout.values()]}
    answers: list[UpdateResult] = []
    moves: dict[tuple[PayoutStatus, PayoutStatus], list[Move]] = {}
    doubtful: list[uuid.UUID] = []
    for report in reports:
        known = by_payment.get(report.payment_id) if report.payment_id else by_payout.get(report.payout_id)
        if known is None:
            answers.append(UpdateResult(UpdateStatus.ORPHAN, "no payment of ours by that id yet", None, None))
            continue
        latest = current[known.payout_id]
        if latest is not known:
            known = known._replace(status=latest.status, held=latest.held)
        differences = _differences(report, known)
        if (
            not differences
            and report.payment_id is None
            and known.current_attempt > 1
            and report.state not in PROGRESS_PAYMENT_STATES
        ):
            # It does not say which attempt it is about: the provider's record does.
            doubtful.append(known.payout_id)
            words = "names no payment; the provider is asked"
            answers.append(UpdateResult(UpdateStatus.IGNORED, words, known.payout_id, known.wallet_id))
            continue
        verdict, path = (UpdateStatus.MISMATCH, ()) if differences else _judge(report, known)
        words = _words(verdict, report, known, differences)
        answers.append(UpdateResult(verdict, words, known.payout_id, known.wallet_id))
        if verdict is UpdateStatus.MISMATCH and not known.held:
            put_payouts_on_hold(connection, [known.payout_id], words, now)
            known = known._replace(held=True)
        source = S(known.status)
        for target in path:
            moves.setdefault((source, target), []).append(_move(report, known, target))
            source = target
        current[known.payout_id] = known if source == known.status else known._replace(status=source)
    in_order = sorted(moves.items(), key=lambda item: item[0] != (S.PROCESSING, S.COMPLETED))
    taken = [start_transition(connection, steps, *edge, now) for edge, steps in in_order]
    finish_transitions(connection, taken, now, beside(answers))
    _ask(connection, doubtful, now)
    return answers


_ASK = sa.text(f"UPDATE payouts SET next_action_at = :now WHERE id = ANY(:ids) AND {status_condition('processing')}")


def _ask(connection: sa.Connection, payout_ids: Sequence[uuid.UUID], now: datetime) -> None:
    """Makes the next tick ask the provider about these."""
    if payout_ids:
        connection.execute(_ASK, {"ids": list(payout_ids), "now": now})


def _differences(report: PaymentUpdate, known: _Known) -> list[str]:
    """What the report says of the payment that is not so by our record; whatever it leaves out is not compared. The
    rail is the provider's to choose: it changes neither who is paid nor how much.
    """
    found = ["its event id came with two bodies"] if report.contradicted else []
    expected = {known.net_cents} if report.payment_id else {known.net_cents, known.amount_cents}
    if report.amount_cents is not None and report.amount_cents not in expected:
        found.append(f"{report.amount_cents} cents, ours are {known.net_cents}")
    if report.currency is not None and report.currency.lower() != known.currency.lower():
        found.append(f"currency {report.currency[:10]}, ours is {known.currency}")
    if report.recipient_id is not None and report.recipient_id != known.recipient_id:
        found.append(f"recipient {report.recipient_id[:60]}, ours is {known.recipient_id}")
    if report.driver_id is not None and report.driver_id != known.driver_id:
        found.append(f"another driver than {public_id(DRIVER, known.driver_id)}")
    if report.payout_id is not None and report.payout_id != known.payout_id:
        found.append(
            f"our {public_id(PAYOUT, report.payout_id)}, the payment is {public_id(PAYOUT, known.payout_id)}'s"
        )
    return found


def _judge(report: PaymentUpdate, known: _Known) -> tuple[UpdateStatus, tuple[PayoutStatus, ...]]:
    if report.state not in FINAL_PAYMENT_STATES:
        if report.state not in PROGRESS_PAYMENT_STATES:
            logger.error("payout.unknown_state", payout=public_id(PAYOUT, known.payout_id), state=report.state[:100])
        return UpdateStatus.IGNORED, ()
    if known.attempt != known.current_attempt:
        # A late word on an attempt that had failed; "failed" again is a repeat, anything else a second payment.
        return (UpdateStatus.IGNORED if report.state in ("failed", "canceled") else UpdateStatus.MISMATCH), ()
    if (S(known.status), report.state) in CONTRADICTIONS:
        return UpdateStatus.MISMATCH, ()
    status = S(known.status) if safeguards.is_on(safeguards.TRANSITION_GUARD) else S.PROCESSING
    path = () if known.held else SETTLEMENT_PATHS.get((status, report.state), ())
    return (UpdateStatus.APPLIED if path else UpdateStatus.IGNORED), path


def _words(verdict: UpdateStatus, report: PaymentUpdate, known: _Known, differences: Sequence[str]) -> str:
    if differences:
        return f"Paystream says {report.state[:40]} with {'; '.join(differences)}"
    if verdict is UpdateStatus.MISMATCH:
        return (
            f"Paystream says {report.state} over {report.amount_cents} cents for attempt {known.attempt}; "
            f"ours is {known.status} over {known.net_cents} cents, attempt {known.current_attempt}"
        )
    return f"{report.state[:40]}: was {known.status}"


def _move(report: PaymentUpdate, known: _Known, target: PayoutStatus) -> Move:
    if target is S.COMPLETED:
        return Move(known.payout_id, report.source)
    return Move(
        known.payout_id,
        report.source,
        failure_code=report.failure_code or target.value.upper(),
        failure_message=report.failure_reason or f"Paystream reported the payment as {target}",
    )


_KNOWN = sa.text("""
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


def _known(
    connection: sa.Connection, reports: Sequence[PaymentUpdate]
) -> tuple[dict[str | None, _Known], dict[uuid.UUID | None, _Known]]:
    """The payments that the reports speak of, by the provider's id and, for reports that name our payout, by that;
    their payouts locked in the common order.
    """
    rows = connection.execute(
        _KNOWN,
        {
            "payments": [report.payment_id for report in reports if report.payment_id],
            "payouts": [report.payout_id for report in reports if report.payout_id and not report.payment_id],
        },
    ).all()
    by_payment: dict[str | None, _Known] = {}
    by_payout: dict[uuid.UUID | None, _Known] = {}
    for row in rows:
        known = _Known._make(row)
        by_payout[known.payout_id] = known
        if known.payment_id is not None:
            by_payment[known.payment_id] = known
    return by_payment, by_payout
