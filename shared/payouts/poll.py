"""Asking: the provider's word on payouts whose webhook never came."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import sqlalchemy as sa
import structlog

from shared.payouts.lifecycle import status_condition
from shared.payouts.payment_updates import PaymentUpdate, UpdateResult
from shared.payouts.settle import settle_payouts
from shared.platform.database import encode_rows
from shared.platform.ids import PAYOUT, public_id
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Throttled, backoff_seconds
from shared.provider.wire import PaymentResource, ProviderCall, UnexpectedResponse, decode_resource, get_payment_call

logger = structlog.get_logger(__name__)

POLL_INTERVAL_MAX_SECONDS = 3600.0


class PaymentPoll(NamedTuple):
    """A payment to ask about."""

    payout_id: uuid.UUID
    mode: str
    payment_id: str

    def call(self) -> ProviderCall:
        """The question to the provider."""
        return get_payment_call(self.mode, self.payment_id)


_ASKED = sa.text(f"""
    SELECT payouts.id, wallets.mode, submission_items.provider_payment_id, payouts.polls
    FROM payouts
    JOIN submission_items ON submission_items.submission_id = payouts.submission_id
                         AND submission_items.payout_id = payouts.id
    JOIN wallets ON wallets.id = payouts.wallet_id
    WHERE payouts.id = ANY(:ids) AND {status_condition("processing")} AND payouts.held_reason IS NULL
    ORDER BY payouts.id FOR UPDATE OF payouts SKIP LOCKED
""")

# Under the payouts' locks, and so by what is written now: the answer itself may have come as they were read.
_WAITING_FOR_THEIR_ANSWER = sa.text("""
    UPDATE payouts SET next_action_at = NULL
    WHERE id = ANY(:ids) AND EXISTS (
        SELECT FROM submission_items AS items
        WHERE items.submission_id = payouts.submission_id AND items.payout_id = payouts.id
              AND provider_payment_id IS NULL)
""")

_AGAIN = sa.text("""
    UPDATE payouts SET polls = polls + 1, polled_at = :now, next_action_at = asked.due
    FROM json_to_recordset(CAST(:asked AS json)) AS asked (id uuid, due timestamptz)
    WHERE payouts.id = asked.id
""")

_NOT_ASKED = sa.text("""
    UPDATE payouts SET polls = greatest(polls - 1, 0), next_action_at = asked.due,
                       polled_at = CASE WHEN polls > 1 THEN polled_at END
    FROM json_to_recordset(CAST(:unasked AS json)) AS asked (id uuid, due timestamptz)
    WHERE payouts.id = asked.id AND status = 'processing'
""")


def start_polls(
    connection: sa.Connection, payout_ids: Sequence[uuid.UUID], now: datetime, *, first_seconds: float
) -> list[PaymentPoll]:
    """Those of the payouts that are still `processing` at the provider; each will be asked again, later each time. One
    whose submission has no answer yet waits for that, by the submission's own times: the answer makes it due again.
    """
    found = connection.execute(_ASKED, {"ids": list(payout_ids)}).all()
    rows = [row for row in found if row.provider_payment_id is not None]
    if len(rows) < len(found):
        unanswered = [row.id for row in found if row.provider_payment_id is None]
        connection.execute(_WAITING_FOR_THEIR_ANSWER, {"ids": unanswered})
    waits = [
        backoff_seconds(row.polls + 1, first_seconds=first_seconds, max_seconds=POLL_INTERVAL_MAX_SECONDS)
        for row in rows
    ]
    asked = [{"id": row.id, "due": now + timedelta(seconds=wait)} for row, wait in zip(rows, waits, strict=True)]
    if asked:
        connection.execute(_AGAIN, {"now": now, "asked": encode_rows(asked)})
    return [PaymentPoll(row.id, row.mode, row.provider_payment_id) for row in rows]


def apply_poll_outcomes(
    connection: sa.Connection, questions: Sequence[PaymentPoll], outcomes: Sequence[CallOutcome], now: datetime
) -> list[UpdateResult]:
    """Applies what the provider's record says. A question for which there was no room counts as not asked."""
    reports, unasked = [], dict[uuid.UUID, float]()
    for question, outcome in zip(questions, outcomes, strict=True):
        if isinstance(outcome, Accepted):
            try:
                payment = decode_resource(outcome.data, PaymentResource)
            except UnexpectedResponse as error:
                logger.warning("payout.poll_unreadable", payout=public_id(PAYOUT, question.payout_id), why=str(error))
                continue
            reports.append(
                PaymentUpdate(
                    state=payment.status,
                    payment_id=question.payment_id,
                    payout_id=question.payout_id,
                    amount_cents=payment.amount,
                    failure_code=payment.failure_code,
                    failure_reason=payment.failure_reason,
                    source="poll",
                    currency=payment.currency,
                    recipient_id=payment.recipient_id,
                )
            )
        elif isinstance(outcome, Rejected):
            logger.error("payout.poll_refused", payout=public_id(PAYOUT, question.payout_id), code=outcome.code)
        elif isinstance(outcome, Throttled):
            unasked[question.payout_id] = outcome.retry_after_seconds
    settled = settle_payouts(connection, reports, now)
    if unasked:
        later = [{"id": payout_id, "due": now + timedelta(seconds=wait)} for payout_id, wait in unasked.items()]
        connection.execute(_NOT_ASKED, {"unasked": encode_rows(later)})
    return settled
