"""Submission leases: a worker claims submissions to send them, and closes each with what came of it.

A lease expires by the database's clock. Its token fences late workers: closing with an old token changes nothing.
"""

import time
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
import structlog

from shared.holds.conditions import HOLD_EFFECT_SECONDS, on_hold_condition
from shared.holds.reconcile_only import OUTBOUND_ALLOWED
from shared.platform.clock import format_rfc3339
from shared.platform.database import encode_rows
from shared.platform.ids import SUBMISSION, public_id
from shared.provider.wire import ProviderCall, send_submission_call
from shared.schema.payouts import Rail, SubmissionKind

logger = structlog.get_logger(__name__)

UNCLEAR_ANSWERS_MAX: Final = 50
"""How many inconclusive responses a submission keeps: the latest."""


class LeasedSubmission(NamedTuple):
    """A submission that this worker may send until its lease expires."""

    id: uuid.UUID
    wallet_id: uuid.UUID
    mode: str
    kind: SubmissionKind
    rail: Rail
    request: dict[str, Any]
    token: uuid.UUID
    first_sent_at: datetime
    sent_for_seconds: float
    """Time since `first_sent_at` by the database's clock."""
    attempts: int
    send_deadline: float
    """Monotonic time at which the lease may expire."""
    recheck_after: float = 0.0
    """Monotonic time until which it may be sent without checking the outgoing holds again."""
    lookup_only: bool = False
    """An outgoing hold covers it: it may be looked up at the provider, not sent."""

    def call(self, may_send: Callable[[], bool] | None = None) -> ProviderCall:
        """The request to the provider. `may_send` checks the outgoing holds again if the call is delayed."""
        call = send_submission_call(self.id, self.mode, self.kind, self.request)
        return call._replace(
            urgent=self.rail is Rail.INSTANT,
            send_deadline=self.send_deadline,
            recheck_after=self.recheck_after,
            may_send=may_send,
        )


# Leases unfinished submissions that are not leased. Locks them in id order and skips locked ones. A submission under an
# outgoing hold is leased only if it may have reached the provider, to be looked up; none while the outbound guard is
# closed, unless :lookup_only.
_CLAIM: Final = sa.text(f"""
    WITH claimable AS (
        SELECT id, {on_hold_condition("submissions.wallet_id", "submissions.rail")} AS on_hold FROM submissions
        WHERE id = ANY(:ids) AND status IN ('prepared', 'unknown')
              AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
              AND (:lookup_only OR {OUTBOUND_ALLOWED})
        ORDER BY id FOR UPDATE SKIP LOCKED
    ), free AS (
        SELECT claimable.id, on_hold FROM claimable JOIN submissions USING (id)
        WHERE NOT on_hold OR first_sent_at IS NOT NULL OR :lookup_only
    )
    UPDATE submissions SET lease_token = :token, attempts = attempts + 1,
        lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
        next_action_at = clock_timestamp() + make_interval(secs => :lease_seconds),
        first_sent_at = coalesce(first_sent_at, clock_timestamp())
    FROM free, wallets WHERE submissions.id = free.id AND wallets.id = submissions.wallet_id
    RETURNING submissions.id, wallet_id, wallets.mode, kind, rail, request, lease_token, first_sent_at,
              CAST(extract(epoch FROM clock_timestamp() - first_sent_at) AS float8), attempts, free.on_hold
""")


def claim_submissions(
    connection: sa.Connection, submission_ids: Sequence[uuid.UUID], *, lease_seconds: float, lookup_only: bool = False
) -> list[LeasedSubmission]:
    """Lease the submissions that still have to be sent. If this worker dies, they are due again when the lease expires.

    The outgoing holds are checked here. `lookup_only` claims submissions only to look them up at the provider.
    """
    token = uuid.uuid4()
    began = time.monotonic()
    rows = connection.execute(
        _CLAIM,
        {"ids": list(submission_ids), "token": token, "lease_seconds": lease_seconds, "lookup_only": lookup_only},
    )
    return [
        LeasedSubmission._make(
            [
                *(*row[:3], SubmissionKind(row[3]), Rail(row[4]), *row[5:10]),
                *(began + lease_seconds, began + HOLD_EFFECT_SECONDS, row[10]),
            ]
        )
        for row in sorted(rows, key=lambda row: row[0])
    ]


class LeaseEnd(NamedTuple):
    """How a lease ends."""

    status: str | None
    """The submission's status; None keeps it."""
    next_action_at: datetime | None = None
    error_code: str = ""
    error_message: str = ""
    provider_id: str | None = None
    answered_at: datetime | None = None
    """When a definite response came."""
    unclear_at: datetime | None = None
    """When an inconclusive one came; it is kept with the earlier ones."""


_IS_LEASED = "lease_token = :token"

# Ends a lease. Locks the submission; updates nothing if another worker has leased or finished it.
_CLOSE: Final = sa.text(f"""
    UPDATE submissions SET status = coalesce(:status, status), next_action_at = :next_action_at,
        provider_id = :provider_id, answered_at = :answered_at,
        error_code = nullif(:error_code, ''), error_message = nullif(:error_message, ''),
        unclear_answers = CASE
            WHEN CAST(:unclear AS jsonb) IS NULL THEN unclear_answers
            WHEN jsonb_array_length(unclear_answers) >= :kept THEN (unclear_answers - 0) || CAST(:unclear AS jsonb)
            ELSE coalesce(unclear_answers, '[]') || CAST(:unclear AS jsonb) END,
        lease_token = NULL, lease_expires_at = NULL
    WHERE id = :id AND {_IS_LEASED} AND status IN ('prepared', 'unknown')
""")


def close_submission(connection: sa.Connection, leased: LeasedSubmission, end: LeaseEnd) -> bool:
    """End the lease; False if it is no longer this worker's, and nothing was changed."""
    unclear = None
    if end.unclear_at:
        status = end.status or "throttled"
        unclear = {"at": format_rfc3339(end.unclear_at), "status": status, "message": end.error_message}
    values = {
        **end._asdict(),
        "id": leased.id,
        "token": leased.token,
        "unclear": encode_rows([unclear]) if unclear else None,
        "kept": UNCLEAR_ANSWERS_MAX,
    }
    done = connection.execute(_CLOSE, values)
    if done.rowcount == 0:
        logger.warning("submission.fenced", submission=public_id(SUBMISSION, leased.id), status=end.status)
    return done.rowcount == 1


# Resets a first sending that never reached the provider. Locks the submission.
_RESET_FIRST_SENDING: Final = sa.text("""
    UPDATE submissions SET first_sent_at = NULL, attempts = 0
    WHERE id = :id AND lease_token = :token AND attempts = 1
""")


def reset_first_sending(connection: sa.Connection, leased: LeasedSubmission) -> None:
    """Count a first attempt that was not sent as never made: the key's lifetime has not begun."""
    connection.execute(_RESET_FIRST_SENDING, {"id": leased.id, "token": leased.token})
