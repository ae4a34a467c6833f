"""Payout metrics, observed at commit."""

import uuid
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa
from prometheus_client import Counter, Histogram

from shared.holds.conditions import unheld_since_expression
from shared.platform.database import call_at_commit
from shared.schema.payouts import PayoutStatus

TRANSITIONS_TOTAL = Counter(
    "ovnpay_payout_transitions_total",
    "Payout transitions from one status to another; acceptance has from_status none.",
    ["from_status", "to_status"],
)
TRANSITIONS_TOTAL.labels("none", PayoutStatus.VALIDATED.value)
STAGE_SECONDS = Histogram(
    "ovnpay_payout_stage_duration_seconds",
    "Time payouts spent in a status, observed when they leave it.",
    ["status", "rail"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400, 345_600, 604_800),
)
FIRST_SUBMISSION_SECONDS = Histogram(
    "ovnpay_payout_first_submission_seconds",
    "Time from a payout's acceptance, batch release, retry or end of a hold to its first submission to the provider, "
    "observed when the provider's definite response is recorded.",
    ["rail"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 21_600, 86_400),
)

# Returns, for each payout of a submission, its rail and how long it waited to be sent. Locks nothing.
_FIRST_SUBMISSION_WAITS: Final = sa.text(f"""
    SELECT payouts.rail, CAST(extract(epoch FROM submissions.first_sent_at - greatest(
        {unheld_since_expression("payouts.wallet_id", "payouts.rail")}, coalesce(
        CASE WHEN items.attempt > 1 OR payouts.batch_id IS NOT NULL THEN (
            SELECT max(created_at) FROM payout_transitions AS step
            WHERE step.payout_id = payouts.id AND step.attempt = items.attempt AND step.to_status = 'queued'
        ) END, payouts.requested_at))) AS float8) AS seconds
    FROM submissions JOIN submission_items AS items ON items.submission_id = submissions.id AND NOT items.dissolved
    JOIN payouts ON payouts.id = items.payout_id
    WHERE submissions.id = :id AND submissions.first_sent_at IS NOT NULL
""")


def initialize_edge(source: PayoutStatus, target: PayoutStatus) -> None:
    """Export the counter of an allowed edge from the start, as 0."""
    TRANSITIONS_TOTAL.labels(source.value, target.value)


def count_accepted(connection: sa.Connection, count: int) -> None:
    """Count payouts written as `validated`."""
    call_at_commit(connection, lambda: TRANSITIONS_TOTAL.labels("none", PayoutStatus.VALIDATED.value).inc(count))


def observe_transitions(
    connection: sa.Connection, source: PayoutStatus, target: PayoutStatus, stage_seconds: Sequence[tuple[str, float]]
) -> None:
    """Count payouts that moved, and observe each one's rail and time in `source`."""
    if not stage_seconds:
        return

    def observe() -> None:
        TRANSITIONS_TOTAL.labels(source.value, target.value).inc(len(stage_seconds))
        by_rail = {rail: STAGE_SECONDS.labels(source.value, rail) for rail in {rail for rail, _ in stage_seconds}}
        for rail, seconds in stage_seconds:
            by_rail[rail].observe(max(seconds, 0.0))

    call_at_commit(connection, observe)


def observe_first_submission(connection: sa.Connection, submission_id: uuid.UUID) -> None:
    """Observe how long the payouts of a submission waited; called once, with its definite response."""
    rows = connection.execute(_FIRST_SUBMISSION_WAITS, {"id": submission_id}).all()
    waits = [(row.rail, row.seconds) for row in rows]

    def observe() -> None:
        by_rail = {rail: FIRST_SUBMISSION_SECONDS.labels(rail) for rail in {rail for rail, _ in waits}}
        for rail, seconds in waits:
            by_rail[rail].observe(max(seconds, 0.0))

    call_at_commit(connection, observe)
