"""Polling: asks the provider about processing payouts whose event did not arrive."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final, NamedTuple

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

POLL_INTERVAL_MAX_SECONDS: Final = 3600.0


class PaymentPoll(NamedTuple):
    """A payment to ask about."""

    payout_id: uuid.UUID
    mode: str
    payment_id: str

    def call(self) -> ProviderCall:
        """The request to the provider."""
        return get_payment_call(self.mode, self.payment_id)


# Returns processing payouts with their provider payment ids. Locks them in id order and skips locked ones.
_POLLABLE: Final = sa.text(f"""
    SELECT payouts.id, wallets.mode, submission_items.provider_payment_id, payouts.polls
    FROM payouts
    JOIN submission_items ON submission_items.submission_id = payouts.submission_id
                         AND submission_items.payout_id = payouts.id
    JOIN wallets ON wallets.id = payouts.wallet_id
    WHERE payouts.id = ANY(:ids) AND {status_condition("processing")} AND payouts.held_reason IS NULL
    ORDER BY payouts.id FOR UPDATE OF payouts SKIP LOCKED
""")

# Stops polling payouts whose submission has no response yet; recording the response makes them due again. Locks them;
# they are locked already. Checks the payment id again: the response may have been recorded after they were read.
_STOP_UNANSWERED: Final = sa.text("""
    UPDATE payouts SET next_action_at = NULL
    WHERE id = ANY(:ids) AND EXISTS (
        SELECT FROM submission_items AS items
        WHERE items.submission_id = payouts.submission_id AND items.payout_id = payouts.id
              AND provider_payment_id IS NULL)
""")

# Counts a poll and sets the time of the next. Locks the payouts; they are locked already.
_COUNT_POLLS: Final = sa.text("""
    UPDATE payouts SET polls = polls + 1, polled_at = :now, next_action_at = polled.due
    FROM json_to_recordset(CAST(:polled AS json)) AS polled (id uuid, due timestamptz)
    WHERE payouts.id = polled.id
""")

# Takes back polls that were not sent. Locks the payouts.
_UNCOUNT_POLLS: Final = sa.text("""
    UPDATE payouts SET polls = greatest(polls - 1, 0), next_action_at = unsent.due,
                       polled_at = CASE WHEN polls > 1 THEN polled_at END
    FROM json_to_recordset(CAST(:unsent AS json)) AS unsent (id uuid, due timestamptz)
    WHERE payouts.id = unsent.id AND status = 'processing'
""")


def start_polls(
    connection: sa.Connection, payout_ids: Sequence[uuid.UUID], now: datetime, *, first_seconds: float
) -> list[PaymentPoll]:
    """Return the polls of the payouts that are still `processing`, and set the next ones, with backoff.

    `first_seconds` is the wait after the first poll.
    """
    found = connection.execute(_POLLABLE, {"ids": list(payout_ids)}).all()
    rows = [row for row in found if row.provider_payment_id is not None]
    if len(rows) < len(found):
        unanswered = [row.id for row in found if row.provider_payment_id is None]
        connection.execute(_STOP_UNANSWERED, {"ids": unanswered})
    waits = [
        backoff_seconds(row.polls + 1, first_seconds=first_seconds, max_seconds=POLL_INTERVAL_MAX_SECONDS)
        for row in rows
    ]
    polled = [{"id": row.id, "due": now + timedelta(seconds=wait)} for row, wait in zip(rows, waits, strict=True)]
    if polled:
        connection.execute(_COUNT_POLLS, {"now": now, "polled": encode_rows(polled)})
    return [PaymentPoll(row.id, row.mode, row.provider_payment_id) for row in rows]


def apply_poll_outcomes(
    connection: sa.Connection, polls: Sequence[PaymentPoll], outcomes: Sequence[CallOutcome], now: datetime
) -> list[UpdateResult]:
    """Settle by the provider's records. A throttled poll counts as not sent."""
    updates, unsent = [], list[dict[str, object]]()
    for poll, outcome in zip(polls, outcomes, strict=True):
        if isinstance(outcome, Accepted):
            try:
                payment = decode_resource(outcome.data, PaymentResource)
            except UnexpectedResponse as error:
                logger.warning("payout.poll_unreadable", payout=public_id(PAYOUT, poll.payout_id), why=str(error))
                continue
            updates.append(
                PaymentUpdate(
                    state=payment.status,
                    payment_id=poll.payment_id,
                    payout_id=poll.payout_id,
                    amount_cents=payment.amount,
                    failure_code=payment.failure_code,
                    failure_reason=payment.failure_reason,
                    source="poll",
                    currency=payment.currency,
                    recipient_id=payment.recipient_id,
                )
            )
        elif isinstance(outcome, Rejected):
            logger.error("payout.poll_refused", payout=public_id(PAYOUT, poll.payout_id), code=outcome.code)
        elif isinstance(outcome, Throttled):
            unsent.append({"id": poll.payout_id, "due": now + timedelta(seconds=outcome.retry_after_seconds)})
    results = settle_payouts(connection, updates, now)
    if unsent:
        connection.execute(_UNCOUNT_POLLS, {"unsent": encode_rows(unsent)})
    return results
