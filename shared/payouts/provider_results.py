"""Answers: what the provider said to a submission, recorded in a transaction of its own after the call.

Only the holder of the lease may record; whoever woke up late changes nothing.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa
import structlog

from shared.holds.conditions import HOLD_RECHECK_SECONDS
from shared.payouts.allowed_edges import status_condition
from shared.payouts.contradictions import put_payouts_on_hold
from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.submissions import LeasedSubmission, OutgoingPayout, write_submissions
from shared.platform import safeguards
from shared.platform.clock import format_rfc3339
from shared.platform.database import encode_rows
from shared.platform.ids import PAYOUT, SUBMISSION, new_id, public_id
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Throttled, Unknown, Withheld, backoff_seconds
from shared.provider.wire import BatchResource, PaymentResource, UnexpectedResponse, decode_resource
from shared.schema.payouts import PayoutStatus, Rail, SubmissionKind

logger = structlog.get_logger(__name__)

EARLY_EVENT_GRACE: Final = timedelta(seconds=2)
"""How long a doorbell has to be heard for webhooks that came before the answer; then the tick rings for them."""

UNCLEAR_ANSWERS_MAX: Final = 50
"""How many answers that decided nothing a submission remembers."""


class RecordedOutcome(NamedTuple):
    """What recording set in motion: bells to ring after the commit."""

    submissions: list[uuid.UUID]
    """New submissions, made where the provider refused a whole batch."""
    events: list[uuid.UUID]
    """Webhooks that had come before the answer and can be applied now."""
    payments: Sequence[tuple[uuid.UUID, str]] = ()
    """The payouts that the provider took on, each with the id that it gave to the payment."""


def record_outcome(
    connection: sa.Connection, held: LeasedSubmission, outcome: CallOutcome, now: datetime, *, poll_after: timedelta
) -> RecordedOutcome:
    """Records what came of sending a submission. Changes nothing if the lease is no longer ours."""
    if isinstance(outcome, Accepted):
        try:
            payments = payments_in_response(held.kind, outcome.data)
        except UnexpectedResponse as error:
            outcome = Unknown(str(error))
        else:
            return _accepted(connection, held, outcome.data["id"], payments, now, poll_after)
    if isinstance(outcome, Rejected):
        return _rejected(connection, held, outcome, now)
    if isinstance(outcome, Throttled):
        # What was not even tried before counts as never sent: its key's lifetime has not begun.
        status, message, wait_seconds = None, "rate limited", outcome.retry_after_seconds
        _forget_sending(connection, held)
    elif isinstance(outcome, Withheld):
        status, message, wait_seconds = None, outcome.explanation, HOLD_RECHECK_SECONDS
        _forget_sending(connection, held)
    else:
        assert isinstance(outcome, Unknown)
        status, message, wait_seconds = "unknown", outcome.explanation, backoff_seconds(held.attempts)
    due = now + timedelta(seconds=wait_seconds)
    taken = _close(connection, held, status, next_action_at=due, error=("", message), unclear_at=now)
    if taken:
        why = outcome.reason if isinstance(outcome, Unknown) else message
        logger.warning("submission.again", submission=_name(held), status=status, why=why, in_seconds=wait_seconds)
    return RecordedOutcome([], [])


def payments_in_response(kind: SubmissionKind, data: object) -> list[PaymentResource]:
    """The payments of a submission's answer."""
    return (
        [decode_resource(data, PaymentResource)]
        if kind is SubmissionKind.PAYMENT
        else decode_resource(data, BatchResource).payments
    )


def mark_unresolved(connection: sa.Connection, held: LeasedSubmission, now: datetime) -> None:
    """The key's lifetime is over and the provider does not find the payments: from here a person decides."""
    error = ("", "not found after the key's lifetime")
    if _close(connection, held, "unresolved", next_action_at=None, error=error, unclear_at=now):
        logger.error("submission.unresolved", submission=_name(held), hint="ask Paystream whether it was paid")


def _name(held: LeasedSubmission) -> str:
    return public_id(SUBMISSION, held.id)


_OURS = "lease_token = :token" if safeguards.is_on(safeguards.FENCING) else "true"

_CLOSE = sa.text(f"""
    UPDATE submissions SET status = coalesce(:status, status), next_action_at = :next_action_at,
        provider_id = :provider_id, answered_at = :answered_at,
        error_code = nullif(:code, ''), error_message = nullif(:message, ''),
        unclear_answers = CASE
            WHEN CAST(:unclear AS jsonb) IS NULL THEN unclear_answers
            WHEN jsonb_array_length(unclear_answers) >= :kept THEN (unclear_answers - 0) || CAST(:unclear AS jsonb)
            ELSE coalesce(unclear_answers, '[]') || CAST(:unclear AS jsonb) END,
        lease_token = NULL, lease_expires_at = NULL
    WHERE id = :id AND {_OURS} AND status IN ('prepared', 'unknown')
""")


def _close(
    connection: sa.Connection,
    held: LeasedSubmission,
    status: str | None,
    *,
    next_action_at: datetime | None,
    error: tuple[str, str] = ("", ""),
    provider_id: str | None = None,
    answered_at: datetime | None = None,
    unclear_at: datetime | None = None,
) -> bool:
    """Ends the lease with a status, or as it was; False if it was not ours any more. An answer that decides nothing has
    `unclear_at` instead of `answered_at`, and is kept beside the others of its kind.
    """
    unclear = (
        {"at": format_rfc3339(unclear_at), "status": status or "throttled", "message": error[1]} if unclear_at else None
    )
    done = connection.execute(
        _CLOSE,
        {
            "id": held.id,
            "token": held.token,
            "status": status,
            "next_action_at": next_action_at,
            "provider_id": provider_id,
            "answered_at": answered_at,
            "code": error[0],
            "message": error[1],
            "unclear": encode_rows([unclear]) if unclear else None,
            "kept": UNCLEAR_ANSWERS_MAX,
        },
    )
    if done.rowcount == 0:
        logger.warning("submission.fenced", submission=_name(held), status=status)
    return done.rowcount == 1


_FORGET_SENDING = sa.text("""
    UPDATE submissions SET first_sent_at = NULL, attempts = 0
    WHERE id = :id AND lease_token = :token AND attempts = 1
""")


def _forget_sending(connection: sa.Connection, held: LeasedSubmission) -> None:
    connection.execute(_FORGET_SENDING, {"id": held.id, "token": held.token})


_ASK_LATER = sa.text(f"""
    UPDATE payouts SET next_action_at = :due
    WHERE id = ANY(:ids) AND submission_id = :id AND {status_condition("processing")} AND held_reason IS NULL
          AND (next_action_at IS NULL OR next_action_at NOT BETWEEN :earliest AND :due)
""")

# With the webhooks that may have been faster than the answer. They are looked up one by one, by their keys: Postgres
# believes that the function gives a hundred rows, and would read all notices there are for the sake of one payment.
_PLACE = sa.text("""
    WITH matched AS (
        SELECT * FROM json_to_recordset(CAST(:matched AS json)) AS matched (payout_id uuid, payment_id text)
    ), placed AS (
        UPDATE submission_items SET provider_payment_id = matched.payment_id
        FROM matched WHERE submission_id = :id AND submission_items.payout_id = matched.payout_id
    ), early AS (
        SELECT event.id, matched.payout_id FROM matched CROSS JOIN LATERAL (
            SELECT id FROM provider_events
            WHERE payment_id = matched.payment_id AND status = 'orphan' FOR UPDATE SKIP LOCKED
        ) AS event
    ), woken AS (
        UPDATE provider_events SET wallet_id = :wallet_id, next_action_at = :due,
            payout_id = coalesce(provider_events.payout_id, early.payout_id)
        FROM early WHERE provider_events.id = early.id
        RETURNING provider_events.id
    )
    SELECT id FROM woken UNION ALL
    SELECT event.id FROM matched CROSS JOIN LATERAL (
        SELECT id FROM provider_events
        WHERE payment_id = matched.payment_id AND status = 'received' AND wallet_id IS NULL OFFSET 0
    ) AS event
""")
"""Returns the notices that were faster than this answer: those that a worker has put off, and those that nobody was
woken for, since they decide nothing."""


def _accepted(
    connection: sa.Connection,
    held: LeasedSubmission,
    provider_id: str,
    payments: Sequence[PaymentResource],
    now: datetime,
    poll_after: timedelta,
) -> RecordedOutcome:
    if not _close(connection, held, "accepted", next_action_at=None, provider_id=provider_id, answered_at=now):
        return RecordedOutcome([], [])
    items = _items(connection, held.id)
    matched, strays = _match(held.kind, items, payments)
    if strays:
        put_payouts_on_hold(connection, strays, "Paystream's answer does not match what we asked for", now)
    # Noted when the request was written, as a rule: then it is as good as what would be written now.
    due = now + poll_after
    connection.execute(
        _ASK_LATER, {"id": held.id, "ids": sorted(matched), "earliest": now + poll_after / 2, "due": due}
    )
    early = connection.execute(
        _PLACE,
        {
            "id": held.id,
            "wallet_id": held.wallet_id,
            "due": now + EARLY_EVENT_GRACE,
            "matched": encode_rows({"payout_id": one, "payment_id": payment.id} for one, payment in matched.items()),
        },
    )
    return RecordedOutcome([], [row.id for row in early], [(one, payment.id) for one, payment in matched.items()])


def _match(
    kind: SubmissionKind, items: dict[uuid.UUID, OutgoingPayout], payments: Sequence[PaymentResource]
) -> tuple[dict[uuid.UUID, PaymentResource], list[uuid.UUID]]:
    """Which payment is whose, and the payouts for which none, or one with another amount or recipient, came."""
    if kind is SubmissionKind.PAYMENT:
        named = {next(iter(items)): payments[0]}
    else:
        by_name = {public_id(PAYOUT, payout_id): payout_id for payout_id in items}
        named = {
            by_name[name]: payment
            for payment in payments
            if (name := (payment.description or "").partition(" ")[0]) in by_name
        }
    matched = {
        payout_id: payment
        for payout_id, payment in named.items()
        if (payment.amount, payment.recipient_id) == (items[payout_id].net_cents, items[payout_id].recipient_id)
    }
    return matched, [payout_id for payout_id in items if payout_id not in matched]


_DISSOLVE = sa.text("""
    UPDATE submission_items SET dissolved = true WHERE submission_id = :id AND payout_id = ANY(:payouts)
""")

_MOVE = sa.text(f"""
    UPDATE payouts SET submission_id = moved.submission_id
    FROM json_to_recordset(CAST(:moved AS json)) AS moved (payout_id uuid, submission_id uuid)
    WHERE payouts.id = moved.payout_id AND payouts.submission_id = :id AND {status_condition("processing")}
""")


def _rejected(connection: sa.Connection, held: LeasedSubmission, outcome: Rejected, now: datetime) -> RecordedOutcome:
    """A definite no. One payout fails by it; a batch is split in halves, each a new submission with a key of its
    own, until the payout at fault is alone: its neighbours get paid.
    """
    error = (outcome.code, outcome.message)
    if not _close(connection, held, "rejected", next_action_at=None, error=error, answered_at=now):
        return RecordedOutcome([], [])
    items = list(_items(connection, held.id, ours_alone=True).values())
    if not items:
        return RecordedOutcome([], [])
    if len(items) == 1:
        move = Move(items[0].payout_id, "refused", failure_code=outcome.code, failure_message=outcome.message)
        transition_payouts(connection, [move], PayoutStatus.PROCESSING, PayoutStatus.FAILED, now)
        return RecordedOutcome([], [])
    logger.warning("submission.split", submission=_name(held), payouts=len(items), code=outcome.code)
    connection.execute(_DISSOLVE, {"id": held.id, "payouts": [item.payout_id for item in items]})
    middle = len(items) // 2
    halves = [(new_id(), items[:middle]), (new_id(), items[middle:])]
    write_submissions(connection, halves, now)
    moved = [
        {"payout_id": item.payout_id, "submission_id": submission_id} for submission_id, half in halves for item in half
    ]
    connection.execute(_MOVE, {"id": held.id, "moved": encode_rows(moved)})
    return RecordedOutcome([submission_id for submission_id, _ in halves], [])


_SENT = """
    SELECT payouts.id, payouts.wallet_id, payouts.rail, submission_items.attempt, net_cents, recipient_id,
           payouts.description
    FROM submission_items JOIN payouts ON payouts.id = submission_items.payout_id
    WHERE submission_items.submission_id = :id AND NOT dissolved {}
    ORDER BY payouts.id FOR UPDATE OF payouts
"""
_ALL_SENT = sa.text(_SENT.format(""))
_OURS_ALONE = sa.text(
    _SENT.format(
        f"AND payouts.submission_id = :id AND {status_condition('processing')} AND payouts.held_reason IS NULL"
    )
)


def _items(
    connection: sa.Connection, submission_id: uuid.UUID, *, ours_alone: bool = False
) -> dict[uuid.UUID, OutgoingPayout]:
    """The submission's payouts, locked in the order in which everybody locks payouts.

    With `ours_alone` only those that still wait for this submission: one that failed meanwhile and is on its way in
    another attempt, or that is held, is not ours to decide on.
    """
    rows = connection.execute(_OURS_ALONE if ours_alone else _ALL_SENT, {"id": submission_id})
    return {row[0]: OutgoingPayout(row[0], row[1], Rail(row[2]), *row[3:]) for row in rows}
