"""Submissions: the requests to the provider, committed before they are sent.

A submission's id is the provider's idempotency key, so its request never changes.
"""

import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from shared.holds.reconcile_only import NOT_RECONCILE_ONLY
from shared.payouts.lifecycle import Move, finish_transitions, start_transition_query, status_condition
from shared.payouts.on_hold import has_unmatched_payments_query, hold_double_payments
from shared.payouts.rails import PROVIDER_RAILS
from shared.payouts.rows import PayoutRow
from shared.platform.database import encode_rows
from shared.platform.ids import PAYOUT, SUBMISSION, new_id, public_id
from shared.platform.pipelined_queries import Query, no_result, run_queries
from shared.schema.payouts import PayoutStatus, Rail, SubmissionKind
from shared.schema.scenarios import SIMULATED_SCENARIOS, Scenario

BATCH_PAYMENTS_MAX: Final = 1_000
BATCH_CENTS_MAX: Final = 100_000_000
"""The provider's limits for one `POST /batches`."""


class OutgoingPayout(NamedTuple):
    """A payout to submit to the provider."""

    payout_id: uuid.UUID
    wallet_id: uuid.UUID
    rail: Rail
    attempt: int
    net_cents: int
    recipient_id: str
    description: str | None
    scenario: str | None = None
    """The scenario that the provider's test mode simulates."""


class PreparedSubmissions(NamedTuple):
    """Written submissions, due now and not leased."""

    submission_ids: list[uuid.UUID]
    rows: list[PayoutRow]
    """Their payouts, now `processing`."""


# Returns what is submitted of queued payouts. Locks them in id order and skips locked ones. Excludes payouts on hold
# and drivers without a recipient; nothing is returned in reconcile-only mode.
_OUTGOING_PAYOUTS: Final = sa.text(f"""
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
    """Submit the payouts that are `queued`; see `prepare_outgoing_payouts`."""
    payouts, has_unmatched_payments = run_queries(connection, *outgoing_payouts_queries(payout_ids))
    return prepare_outgoing_payouts(
        connection, payouts, has_unmatched_payments, now, reason=reason, poll_after=poll_after
    )


def outgoing_payouts_queries(payout_ids: Sequence[uuid.UUID]) -> tuple[Query[list[OutgoingPayout]], Query[bool]]:
    """Queries for the first two arguments of `prepare_outgoing_payouts`."""
    payouts = Query(
        _OUTGOING_PAYOUTS,
        {"ids": list(payout_ids)},
        lambda rows: [OutgoingPayout(row[0], row[1], Rail(row[2]), *row[3:]) for row in rows],
    )
    return payouts, has_unmatched_payments_query()


def prepare_outgoing_payouts(
    connection: sa.Connection,
    payouts: Sequence[OutgoingPayout],
    has_unmatched_payments: bool,
    now: datetime,
    *,
    reason: str,
    poll_after: Callable[[Rail], timedelta] | None = None,
) -> PreparedSubmissions:
    """Write submissions and move their payouts to `processing`.

    A payout that may repeat an unrecorded payment of the provider is put on hold instead. `poll_after` sets the first
    poll already now, to save rewriting every payout after a prompt response.
    """
    if has_unmatched_payments and payouts:
        on_hold = hold_double_payments(connection, [payout.payout_id for payout in payouts], now)
        payouts = [payout for payout in payouts if payout.payout_id not in on_hold]
    submissions = [(new_id(), group) for group in group_payouts(payouts)]
    due = {rail: now + poll_after(rail) for rail in Rail} if poll_after else {}
    moves = [
        Move(payout.payout_id, reason, next_action_at=due.get(payout.rail), submission_id=submission_id)
        for submission_id, group in submissions
        for payout in group
    ]
    transition = start_transition_query(moves, PayoutStatus.QUEUED, PayoutStatus.PROCESSING, now)
    _, started = run_queries(connection, write_submissions_query(submissions, now), transition)
    if started is None:
        return PreparedSubmissions([], [])
    finish_transitions(connection, [started], now)
    return PreparedSubmissions([submission_id for submission_id, _ in submissions], started.rows)


def group_payouts(payouts: Iterable[OutgoingPayout]) -> list[list[OutgoingPayout]]:
    """Group standard payouts by wallet, within the provider's batch limits; all others are alone.

    A payout with a scenario is alone too: the payments of a provider batch have no metadata.
    """
    groups: list[list[OutgoingPayout]] = []
    standard: defaultdict[uuid.UUID, list[OutgoingPayout]] = defaultdict(list)
    for payout in payouts:
        if payout.rail is Rail.STANDARD and payout.scenario is None:
            standard[payout.wallet_id].append(payout)
        else:
            groups.append([payout])
    for of_wallet in standard.values():
        group: list[OutgoingPayout] = []
        cents = 0
        for payout in of_wallet:
            if len(group) == BATCH_PAYMENTS_MAX or (group and cents + payout.net_cents > BATCH_CENTS_MAX):
                groups.append(group)
                group, cents = [], 0
            group.append(payout)
            cents += payout.net_cents
        groups.append(group)
    return groups


# Inserts submissions and their items. Locks nothing else.
_INSERT_SUBMISSIONS: Final = sa.text("""
    WITH written AS (
        INSERT INTO submissions (id, wallet_id, kind, rail, request, status, next_action_at, created_at)
        SELECT made.*, 'prepared', :now, :now FROM json_to_recordset(CAST(:made AS json))
            AS made (id uuid, wallet_id uuid, kind text, rail text, request jsonb)
    )
    INSERT INTO submission_items (submission_id, position, payout_id, attempt, net_cents, recipient_id)
    SELECT * FROM json_to_recordset(CAST(:items AS json)) AS item (
        submission_id uuid, position int, payout_id uuid, attempt int, net_cents bigint, recipient_id text)
""")


class _InsertedSubmission(msgspec.Struct):
    id: uuid.UUID
    wallet_id: uuid.UUID
    kind: SubmissionKind
    rail: Rail
    request: dict[str, Any]


class _InsertedItem(msgspec.Struct):
    submission_id: uuid.UUID
    position: int
    payout_id: uuid.UUID
    attempt: int
    net_cents: int
    recipient_id: str


def write_submissions(
    connection: sa.Connection, submissions: Sequence[tuple[uuid.UUID, Sequence[OutgoingPayout]]], now: datetime
) -> None:
    """Write submissions with their requests, due now."""
    run_queries(connection, write_submissions_query(submissions, now))


def write_submissions_query(
    submissions: Sequence[tuple[uuid.UUID, Sequence[OutgoingPayout]]], now: datetime
) -> Query[None] | None:
    """Query that writes submissions, or None without any."""
    if not submissions:
        return None
    made = [
        _InsertedSubmission(submission_id, group[0].wallet_id, kind, group[0].rail, request)
        for submission_id, group in submissions
        for kind, request in [build_provider_request(submission_id, group)]
    ]
    items = [
        _InsertedItem(submission_id, position, payout.payout_id, payout.attempt, payout.net_cents, payout.recipient_id)
        for submission_id, group in submissions
        for position, payout in enumerate(group)
    ]
    values = {"now": now, "made": encode_rows(made), "items": encode_rows(items)}
    return Query(_INSERT_SUBMISSIONS, values, no_result)


def build_provider_request(
    submission_id: uuid.UUID, group: Sequence[OutgoingPayout]
) -> tuple[SubmissionKind, dict[str, Any]]:
    """Return the request to the provider: one payment, or a batch.

    A batch payment has no metadata, so its description begins with our payout id: the response is matched by it.
    """
    if len(group) == 1:
        [payout] = group
        simulated = {"simulate": SIMULATED_SCENARIOS[Scenario(payout.scenario)]} if payout.scenario else {}
        return SubmissionKind.PAYMENT, {
            "recipientId": payout.recipient_id,
            "amount": payout.net_cents,
            "currency": "usd",
            "rail": PROVIDER_RAILS[payout.rail],
            "description": payout.description or "Payout",
            "metadata": {
                "payoutId": public_id(PAYOUT, payout.payout_id),
                "submissionId": public_id(SUBMISSION, submission_id),
                **simulated,
            },
        }
    payments = [
        {
            "recipientId": payout.recipient_id,
            "amount": payout.net_cents,
            "description": f"{public_id(PAYOUT, payout.payout_id)} {payout.description or 'Payout'}",
        }
        for payout in group
    ]
    return SubmissionKind.BATCH, {"name": public_id(SUBMISSION, submission_id), "payments": payments}
