"""Provider results: records the outcome of a sent submission, in a transaction of its own after the call."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa
import structlog

from shared.holds.conditions import HOLD_RECHECK_SECONDS
from shared.payouts.lifecycle import Move, status_condition, transition_payouts
from shared.payouts.on_hold import put_payouts_on_hold
from shared.payouts.submission_leases import LeasedSubmission, LeaseEnd, close_submission, reset_first_sending
from shared.payouts.submissions import OutgoingPayout, write_submissions
from shared.platform.database import encode_rows
from shared.platform.ids import PAYOUT, SUBMISSION, new_id, public_id
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Throttled, Unknown, Withheld, backoff_seconds
from shared.provider.wire import BatchResource, PaymentResource, UnexpectedResponse, decode_resource
from shared.schema.payouts import PayoutStatus, Rail, SubmissionKind

logger = structlog.get_logger(__name__)

EARLY_EVENT_GRACE: Final = timedelta(seconds=2)
"""Wake-up grace of the provider events that came before the response: the scheduler enqueues them after it."""


class RecordedOutcome(NamedTuple):
    """What to enqueue after the commit, and the accepted payments."""

    submissions: list[uuid.UUID]
    """New submissions, after the provider rejected a batch."""
    events: list[uuid.UUID]
    """Provider events that came before the response and can be applied now."""
    payments: Sequence[tuple[uuid.UUID, str]] = ()
    """Each accepted payout with the provider's payment id."""


def record_outcome(
    connection: sa.Connection, leased: LeasedSubmission, outcome: CallOutcome, now: datetime, *, poll_after: timedelta
) -> RecordedOutcome:
    """Record the outcome of a call. Changes nothing if the lease is no longer this worker's."""
    if isinstance(outcome, Accepted):
        try:
            payments = payments_in_response(leased.kind, outcome.data)
        except UnexpectedResponse as error:
            outcome = Unknown(str(error))
        else:
            return _record_accepted(connection, leased, outcome.data["id"], payments, now, poll_after)
    if isinstance(outcome, Rejected):
        return _record_rejected(connection, leased, outcome, now)
    if isinstance(outcome, Throttled):
        status, message, wait_seconds = None, "rate limited", outcome.retry_after_seconds
        reset_first_sending(connection, leased)
    elif isinstance(outcome, Withheld):
        status, message, wait_seconds = None, outcome.explanation, HOLD_RECHECK_SECONDS
        reset_first_sending(connection, leased)
    else:
        assert isinstance(outcome, Unknown)
        status, message, wait_seconds = "unknown", outcome.explanation, backoff_seconds(leased.attempts)
    due = now + timedelta(seconds=wait_seconds)
    if close_submission(connection, leased, LeaseEnd(status, due, error_message=message, unclear_at=now)):
        why = outcome.reason if isinstance(outcome, Unknown) else message
        name = public_id(SUBMISSION, leased.id)
        logger.warning("submission.again", submission=name, status=status, why=why, in_seconds=wait_seconds)
    return RecordedOutcome([], [])


def payments_in_response(kind: SubmissionKind, data: object) -> list[PaymentResource]:
    """Decode the payments of a response.

    Raises:
        UnexpectedResponse: the response has another shape.

    """
    if kind is SubmissionKind.PAYMENT:
        return [decode_resource(data, PaymentResource)]
    return decode_resource(data, BatchResource).payments


def mark_unresolved(connection: sa.Connection, leased: LeasedSubmission, now: datetime) -> None:
    """Leave a submission to an operator: its key has expired, and the provider does not find its payments."""
    end = LeaseEnd("unresolved", error_message="not found after the key's lifetime", unclear_at=now)
    if close_submission(connection, leased, end):
        name = public_id(SUBMISSION, leased.id)
        logger.error("submission.unresolved", submission=name, hint="ask Paystream whether it was paid")


# Postpones the first poll, unless the one that was set with the submission is about as late. Locks the payouts; they
# are locked already.
_POSTPONE_POLL: Final = sa.text(f"""
    UPDATE payouts SET next_action_at = :due
    WHERE id = ANY(:ids) AND submission_id = :id AND {status_condition("processing")} AND held_reason IS NULL
          AND (next_action_at IS NULL OR next_action_at NOT BETWEEN :earliest AND :due)
""")

# Records the provider's payment ids, and returns the events that came before the response: orphans, made due again, and
# progress events, for which no worker was woken. Locks the orphans and skips locked ones.
# The lateral subqueries look events up by payment id; with a plain join the planner expects a hundred matches from the
# function, and reads every waiting event for one payment.
_RECORD_PAYMENTS: Final = sa.text("""
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


def _record_accepted(
    connection: sa.Connection,
    leased: LeasedSubmission,
    provider_id: str,
    payments: Sequence[PaymentResource],
    now: datetime,
    poll_after: timedelta,
) -> RecordedOutcome:
    if not close_submission(connection, leased, LeaseEnd("accepted", provider_id=provider_id, answered_at=now)):
        return RecordedOutcome([], [])
    payouts = _lock_payouts(connection, leased.id)
    matched, unmatched = _match(leased.kind, payouts, payments)
    if unmatched:
        put_payouts_on_hold(connection, unmatched, "Paystream's response does not match the request", now)
    due = now + poll_after
    connection.execute(
        _POSTPONE_POLL, {"id": leased.id, "ids": sorted(matched), "earliest": now + poll_after / 2, "due": due}
    )
    early = connection.execute(
        _RECORD_PAYMENTS,
        {
            "id": leased.id,
            "wallet_id": leased.wallet_id,
            "due": now + EARLY_EVENT_GRACE,
            "matched": encode_rows({"payout_id": one, "payment_id": payment.id} for one, payment in matched.items()),
        },
    )
    return RecordedOutcome([], [row.id for row in early], [(one, payment.id) for one, payment in matched.items()])


def _match(
    kind: SubmissionKind, payouts: dict[uuid.UUID, OutgoingPayout], payments: Sequence[PaymentResource]
) -> tuple[dict[uuid.UUID, PaymentResource], list[uuid.UUID]]:
    """The payment of each payout, and the payouts without one of the same amount and recipient."""
    if kind is SubmissionKind.PAYMENT:
        named = {next(iter(payouts)): payments[0]}
    else:
        by_name = {public_id(PAYOUT, payout_id): payout_id for payout_id in payouts}
        named = {
            by_name[name]: payment
            for payment in payments
            if (name := (payment.description or "").partition(" ")[0]) in by_name
        }
    matched = {
        payout_id: payment
        for payout_id, payment in named.items()
        if (payment.amount, payment.recipient_id) == (payouts[payout_id].net_cents, payouts[payout_id].recipient_id)
    }
    return matched, [payout_id for payout_id in payouts if payout_id not in matched]


# Marks items of a rejected batch as moved to another submission. Locks them.
_DISSOLVE: Final = sa.text("""
    UPDATE submission_items SET dissolved = true WHERE submission_id = :id AND payout_id = ANY(:payouts)
""")

# Moves processing payouts to their new submissions. Locks them; they are locked already.
_MOVE_PAYOUTS: Final = sa.text(f"""
    UPDATE payouts SET submission_id = moved.submission_id
    FROM json_to_recordset(CAST(:moved AS json)) AS moved (payout_id uuid, submission_id uuid)
    WHERE payouts.id = moved.payout_id AND payouts.submission_id = :id AND {status_condition("processing")}
""")


def _record_rejected(
    connection: sa.Connection, leased: LeasedSubmission, outcome: Rejected, now: datetime
) -> RecordedOutcome:
    """Fail a single payout; split a batch into two new submissions, until the payout at fault is alone."""
    end = LeaseEnd("rejected", error_code=outcome.code, error_message=outcome.message, answered_at=now)
    if not close_submission(connection, leased, end):
        return RecordedOutcome([], [])
    payouts = list(_lock_payouts(connection, leased.id, waiting_only=True).values())
    if not payouts:
        return RecordedOutcome([], [])
    if len(payouts) == 1:
        move = Move(payouts[0].payout_id, "refused", failure_code=outcome.code, failure_message=outcome.message)
        transition_payouts(connection, [move], PayoutStatus.PROCESSING, PayoutStatus.FAILED, now)
        return RecordedOutcome([], [])
    name = public_id(SUBMISSION, leased.id)
    logger.warning("submission.split", submission=name, payouts=len(payouts), code=outcome.code)
    connection.execute(_DISSOLVE, {"id": leased.id, "payouts": [payout.payout_id for payout in payouts]})
    middle = len(payouts) // 2
    halves = [(new_id(), payouts[:middle]), (new_id(), payouts[middle:])]
    write_submissions(connection, halves, now)
    moved = [
        {"payout_id": payout.payout_id, "submission_id": submission_id}
        for submission_id, half in halves
        for payout in half
    ]
    connection.execute(_MOVE_PAYOUTS, {"id": leased.id, "moved": encode_rows(moved)})
    return RecordedOutcome([submission_id for submission_id, _ in halves], [])


_SUBMITTED = """
    SELECT payouts.id, payouts.wallet_id, payouts.rail, submission_items.attempt, net_cents, recipient_id,
           payouts.description
    FROM submission_items JOIN payouts ON payouts.id = submission_items.payout_id
    WHERE submission_items.submission_id = :id AND NOT dissolved {}
    ORDER BY payouts.id FOR UPDATE OF payouts
"""
# Return the payouts of a submission: all, or those that still wait for it. Lock them in id order.
_ALL_SUBMITTED: Final = sa.text(_SUBMITTED.format(""))
_WAITING_SUBMITTED: Final = sa.text(
    _SUBMITTED.format(
        f"AND payouts.submission_id = :id AND {status_condition('processing')} AND payouts.held_reason IS NULL"
    )
)


def _lock_payouts(
    connection: sa.Connection, submission_id: uuid.UUID, *, waiting_only: bool = False
) -> dict[uuid.UUID, OutgoingPayout]:
    """The locked payouts of a submission.

    `waiting_only` leaves out those that the submission must not decide any more: on hold, or failed meanwhile and
    in another attempt.
    """
    rows = connection.execute(_WAITING_SUBMITTED if waiting_only else _ALL_SUBMITTED, {"id": submission_id})
    return {row[0]: OutgoingPayout(row[0], row[1], Rail(row[2]), *row[3:]) for row in rows}
