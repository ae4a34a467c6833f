"""What is measured of payouts: their steps, how long they stayed in each status, and how soon they were first sent.

Counted when the transaction is committed: what is rolled back did not happen.
"""

import uuid
from collections.abc import Sequence

import sqlalchemy as sa
from prometheus_client import Counter, Histogram

from shared.holds.conditions import unheld_since_expression
from shared.payouts.allowed_edges import EDGES
from shared.platform.database import call_at_commit
from shared.schema.payouts import PayoutStatus

TRANSITIONS_TOTAL = Counter(
    "ovnpay_payout_transitions_total",
    "Steps of payouts, from one status to another; an acceptance comes from none.",
    ["from_status", "to_status"],
)
TRANSITIONS_TOTAL.labels("none", PayoutStatus.VALIDATED.value)
for source, target in EDGES:
    TRANSITIONS_TOTAL.labels(source.value, target.value)
STAGE_SECONDS = Histogram(
    "ovnpay_payout_stage_duration_seconds",
    "How long payouts were in a status when they left it.",
    ["status", "rail"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 21_600, 86_400, 345_600, 604_800),
)
FIRST_SUBMISSION_SECONDS = Histogram(
    "ovnpay_payout_first_submission_seconds",
    "From the acceptance of a payout, its batch's release, its retry or the end of a pause until it was first sent to "
    "the provider; observed when the provider's answer is there.",
    ["rail"],
    buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600, 21_600, 86_400),
)

_FIRST_SENT = sa.text(f"""
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


def count_accepted(connection: sa.Connection, count: int) -> None:
    """Payouts were written as `validated`."""
    call_at_commit(connection, lambda: TRANSITIONS_TOTAL.labels("none", PayoutStatus.VALIDATED.value).inc(count))


def observe_transitions(
    connection: sa.Connection, source: PayoutStatus, target: PayoutStatus, stages: Sequence[tuple[str, float]]
) -> None:
    """Payouts took a step; for each its rail, and how many seconds it was in `source`."""
    if not stages:
        return

    def note() -> None:
        TRANSITIONS_TOTAL.labels(source.value, target.value).inc(len(stages))
        of_rails = {rail: STAGE_SECONDS.labels(source.value, rail) for rail in {rail for rail, _ in stages}}
        for rail, seconds in stages:
            of_rails[rail].observe(max(seconds, 0.0))

    call_at_commit(connection, note)


def observe_first_submission(connection: sa.Connection, submission_id: uuid.UUID) -> None:
    """A submission got its definite answer, of which there is one: how long its payouts had waited to be sent."""
    waits = [(row.rail, row.seconds) for row in connection.execute(_FIRST_SENT, {"id": submission_id}).all()]

    def note() -> None:
        of_rails = {rail: FIRST_SUBMISSION_SECONDS.labels(rail) for rail in {rail for rail, _ in waits}}
        for rail, seconds in waits:
            of_rails[rail].observe(max(seconds, 0.0))

    call_at_commit(connection, note)
