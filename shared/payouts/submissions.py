"""Submitting: what we are about to ask the provider is written down and committed before it is asked.

`prepare_submissions` takes queued payouts to `processing`, each in a submission whose id is the provider's
idempotency key.
`claim_submissions` lets a worker take over submissions that are due. `shared.payouts.provider_results` records what
came back.
A worker holds a submission by a lease; a result counts only while the lease's token is still its own.
"""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from shared.holds.conditions import HOLD_EFFECT_SECONDS, on_hold_condition
from shared.holds.reconcile_only import NOT_RECONCILE_ONLY, OUTBOUND_ALLOWED
from shared.payouts import on_hold
from shared.payouts.allowed_edges import status_condition
from shared.payouts.lifecycle import Move, finish_transitions, start_transition_query
from shared.payouts.rows import PayoutRow
from shared.platform.database import encode_rows
from shared.platform.ids import PAYOUT, SUBMISSION, new_id, public_id
from shared.platform.pipelined_queries import Query, no_result, run_queries
from shared.provider.wire import ProviderCall, send_submission_call
from shared.schema.payouts import PayoutStatus, Rail, SubmissionKind
from shared.schema.scenarios import SIMULATED_SCENARIOS, Scenario

BATCH_PAYMENTS_MAX: Final = 1_000
BATCH_CENTS_MAX: Final = 100_000_000
"""The provider's limits for one `POST /batches`."""

PROVIDER_RAILS: Final = {Rail.STANDARD: "standard", Rail.SAME_DAY: "same_day_ach", Rail.INSTANT: "rtp"}
"""What the provider calls our rails."""


class OutgoingPayout(NamedTuple):
    """One payout on its way to the provider."""

    payout_id: uuid.UUID
    wallet_id: uuid.UUID
    rail: Rail
    attempt: int
    net_cents: int
    recipient_id: str
    description: str | None
    scenario: str | None = None
    """What the provider's test mode is asked to play with it."""


class PreparedSubmissions(NamedTuple):
    """What was written down."""

    submission_ids: list[uuid.UUID]
    """All due now, held by nobody."""
    rows: list[PayoutRow]
    """Their payouts, `processing` now."""


class LeasedSubmission(NamedTuple):
    """A submission that this worker holds and may send."""

    id: uuid.UUID
    wallet_id: uuid.UUID
    mode: str
    kind: SubmissionKind
    rail: Rail
    request: dict[str, Any]
    token: uuid.UUID
    first_sent_at: datetime
    sent_for_seconds: float
    """How long ago that was, by the database's clock."""
    attempts: int
    send_deadline: float
    """The monotonic time at which our lease may be over."""
    recheck_after: float = 0.0
    """The monotonic time until which it may be sent without looking again whether its money is held."""
    look_up: bool = False
    """Whether its money is held, so that we may only ask whether the provider has it."""

    def call(self, may_send: Callable[[], bool] | None = None) -> ProviderCall:
        """The request to the provider. `may_send` checks the outgoing holds again if it is sent late."""
        call = send_submission_call(self.id, self.mode, self.kind, self.request)
        urgent = self.rail is Rail.INSTANT
        return call._replace(
            urgent=urgent, send_deadline=self.send_deadline, recheck_after=self.recheck_after, may_send=may_send
        )


_QUEUED = sa.text(f"""
    SELECT payouts.id, payouts.wallet_id, payouts.rail, payouts.attempt,
           payouts.amount_cents - payouts.fee_cents, drivers.recipient_id, payouts.description,
           CASE payouts.attempt WHEN 1 THEN payouts.scenario END
    FROM payouts JOIN drivers ON drivers.id = payouts.driver_id
    WHERE payouts.id = ANY(:ids) AND {status_condition("queued")} AND payouts.held_reason IS NULL
          AND drivers.recipient_id IS NOT NULL AND {NOT_RECONCILE_ONLY}
    ORDER BY payouts.id FOR UPDATE OF payouts SKIP LOCKED
""")


def prepare_submissions(
    connection: sa.Connection,
    payout_ids: Sequence[uuid.UUID],
    now: datetime,
    *,
    reason: str,
    poll_after: Callable[[Rail], timedelta] | None = None,
) -> PreparedSubmissions:
    """Writes the submissions for those of the payouts that are `queued`.

    Standard payouts of a wallet that go together travel in provider batches; the other rails one by one. One that looks
    like a payment of the provider's that we have no record of is held instead; in reconcile-only none is written.
    `poll_after` is how long a payout waits for its webhook before we ask: noted here already, so that an answer that
    comes soon need not write every payout anew.
    """
    items, may_be_doubles = run_queries(connection, *outgoing_payouts_queries(payout_ids))
    return prepare_outgoing_payouts(connection, items, may_be_doubles, now, reason=reason, poll_after=poll_after)


def outgoing_payouts_queries(payout_ids: Sequence[uuid.UUID]) -> tuple[Query[list[OutgoingPayout]], Query[bool]]:
    """Asks which of the payouts are to be submitted, and whether they may be doubles, for
    `prepare_outgoing_payouts`."""
    items = Query(
        _QUEUED,
        {"ids": list(payout_ids)},
        lambda rows: [OutgoingPayout(row[0], row[1], Rail(row[2]), *row[3:]) for row in rows],
    )
    return items, on_hold.has_unmatched_payments_query()


def prepare_outgoing_payouts(
    connection: sa.Connection,
    items: Sequence[OutgoingPayout],
    may_be_doubles: bool,
    now: datetime,
    *,
    reason: str,
    poll_after: Callable[[Rail], timedelta] | None = None,
) -> PreparedSubmissions:
    """Does what `prepare_submissions` does with what `outgoing_payouts_queries` has found."""
    if may_be_doubles and items:
        held = on_hold.hold_double_payments(connection, [item.payout_id for item in items], now)
        items = [item for item in items if item.payout_id not in held]
    submissions = [(new_id(), group) for group in group_payouts(items)]
    due = {rail: now + poll_after(rail) for rail in Rail} if poll_after else {}
    moves = [
        Move(item.payout_id, reason, next_action_at=due.get(item.rail), submission_id=submission_id)
        for submission_id, group in submissions
        for item in group
    ]
    step = start_transition_query(moves, PayoutStatus.QUEUED, PayoutStatus.PROCESSING, now)
    _, taken = run_queries(connection, write_submissions_query(submissions, now), step)
    if taken is None:
        return PreparedSubmissions([], [])
    finish_transitions(connection, [taken], now)
    return PreparedSubmissions([submission_id for submission_id, _ in submissions], taken.rows)


def group_payouts(items: Iterable[OutgoingPayout]) -> list[list[OutgoingPayout]]:
    """Splits payouts into what travels together: one wallet, one rail, within the provider's limits. One with a
    scenario travels alone: a batch's payments have no metadata.
    """
    groups: list[list[OutgoingPayout]] = []
    standard: defaultdict[uuid.UUID, list[OutgoingPayout]] = defaultdict(list)
    for item in items:
        if item.rail is Rail.STANDARD and item.scenario is None:
            standard[item.wallet_id].append(item)
        else:
            groups.append([item])
    for of_wallet in standard.values():
        group: list[OutgoingPayout] = []
        cents = 0
        for item in of_wallet:
            if len(group) == BATCH_PAYMENTS_MAX or (group and cents + item.net_cents > BATCH_CENTS_MAX):
                groups.append(group)
                group, cents = [], 0
            group.append(item)
            cents += item.net_cents
        groups.append(group)
    return groups


_WRITE = sa.text("""
    WITH written AS (
        INSERT INTO submissions (id, wallet_id, kind, rail, request, status, next_action_at, created_at)
        SELECT made.*, 'prepared', :now, :now FROM json_to_recordset(CAST(:made AS json))
            AS made (id uuid, wallet_id uuid, kind text, rail text, request jsonb)
    )
    INSERT INTO submission_items (submission_id, position, payout_id, attempt, net_cents, recipient_id)
    SELECT * FROM json_to_recordset(CAST(:items AS json)) AS item (
        submission_id uuid, position int, payout_id uuid, attempt int, net_cents bigint, recipient_id text)
""")


class _Submission(msgspec.Struct):
    """A submission as it is sent to the database."""

    id: uuid.UUID
    wallet_id: uuid.UUID
    kind: SubmissionKind
    rail: Rail
    request: dict[str, Any]


class _SubmissionItem(msgspec.Struct):
    """One of its payouts."""

    submission_id: uuid.UUID
    position: int
    payout_id: uuid.UUID
    attempt: int
    net_cents: int
    recipient_id: str


def write_submissions(
    connection: sa.Connection, submissions: Sequence[tuple[uuid.UUID, Sequence[OutgoingPayout]]], now: datetime
) -> None:
    """Writes submissions with their requests, due now, held by nobody."""
    run_queries(connection, write_submissions_query(submissions, now))


def write_submissions_query(
    submissions: Sequence[tuple[uuid.UUID, Sequence[OutgoingPayout]]], now: datetime
) -> Query[None] | None:
    """Writes submissions once it is asked; see `write_submissions`. None where there are none."""
    if not submissions:
        return None
    made = [
        _Submission(submission_id, group[0].wallet_id, kind, group[0].rail, request)
        for submission_id, group in submissions
        for kind, request in [build_provider_request(submission_id, group)]
    ]
    items = [
        _SubmissionItem(submission_id, position, item.payout_id, item.attempt, item.net_cents, item.recipient_id)
        for submission_id, group in submissions
        for position, item in enumerate(group)
    ]
    return Query(_WRITE, {"now": now, "made": encode_rows(made), "items": encode_rows(items)}, no_result)


def build_provider_request(
    submission_id: uuid.UUID, group: Sequence[OutgoingPayout]
) -> tuple[SubmissionKind, dict[str, Any]]:
    """The provider's request (see its Payments and Batches): fixed once, since a key is never sent with another.

    A batch payment has no metadata, so its description begins with our payout's id: by it, and not by its place,
    an answer is matched.
    """
    if len(group) == 1:
        [item] = group
        played = {"simulate": SIMULATED_SCENARIOS[Scenario(item.scenario)]} if item.scenario else {}
        return SubmissionKind.PAYMENT, {
            "recipientId": item.recipient_id,
            "amount": item.net_cents,
            "currency": "usd",
            "rail": PROVIDER_RAILS[item.rail],
            "description": item.description or "Payout",
            "metadata": {
                "payoutId": public_id(PAYOUT, item.payout_id),
                "submissionId": public_id(SUBMISSION, submission_id),
                **played,
            },
        }
    payments = [
        {
            "recipientId": item.recipient_id,
            "amount": item.net_cents,
            "description": f"{public_id(PAYOUT, item.payout_id)} {item.description or 'Payout'}",
        }
        for item in group
    ]
    return SubmissionKind.BATCH, {"name": public_id(SUBMISSION, submission_id), "payments": payments}


_CLAIM = sa.text(f"""
    WITH waiting AS (
        SELECT id, {on_hold_condition("submissions.wallet_id", "submissions.rail")} AS held FROM submissions
        WHERE id = ANY(:ids) AND status IN ('prepared', 'unknown')
              AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
              AND (:to_look_up OR {OUTBOUND_ALLOWED})
        ORDER BY id FOR UPDATE SKIP LOCKED
    ), free AS (
        SELECT waiting.id, held FROM waiting JOIN submissions USING (id)
        WHERE NOT held OR first_sent_at IS NOT NULL OR :to_look_up
    )
    UPDATE submissions SET lease_token = :token, attempts = attempts + 1,
        lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
        next_action_at = clock_timestamp() + make_interval(secs => :lease_seconds),
        first_sent_at = coalesce(first_sent_at, clock_timestamp())
    FROM free, wallets WHERE submissions.id = free.id AND wallets.id = submissions.wallet_id
    RETURNING submissions.id, wallet_id, wallets.mode, kind, rail, request, lease_token, first_sent_at,
              CAST(extract(epoch FROM clock_timestamp() - first_sent_at) AS float8), attempts, free.held
""")


def claim_submissions(
    connection: sa.Connection, submission_ids: Sequence[uuid.UUID], *, lease_seconds: float, lookup_only: bool = False
) -> list[LeasedSubmission]:
    """Takes the submissions that still need sending and that nobody holds, for `lease_seconds` by the database's
    clock. Should this worker die, the tick rings for them once the lease is over.

    What leaves or not is decided here: of those whose money is held at this moment only such are taken that may be at
    the provider already, to be looked up. None while no money at all may leave, unless it is only `lookup_only` what
    became of them.
    """
    token = uuid.uuid4()
    began = time.monotonic()
    rows = connection.execute(
        _CLAIM,
        {"ids": list(submission_ids), "token": token, "lease_seconds": lease_seconds, "to_look_up": lookup_only},
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
