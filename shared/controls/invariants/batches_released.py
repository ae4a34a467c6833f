"""Each batch was released at most once, whole, and not before its time."""

from datetime import timedelta
from typing import Final

from shared.controls.invariants.invariant import Invariant, make_query_check
from shared.controls.invariants.subjects import BATCHES
from shared.platform.ids import BATCH

RELEASE_CLOCK_SKEW: Final = timedelta(seconds=5)
"""A release waits by the database's clock and is recorded by the worker's."""

_VIOLATIONS: Final = """
    WITH batch AS (
        SELECT id, wallet_id, status, scheduled_for, released_at, payout_count, named.name FROM batches
        JOIN json_to_recordset(CAST(:names AS json)) AS named (id uuid, name text) USING (id)
    ), payout AS (
        SELECT payouts.batch_id AS id, count(*) AS payouts,
               count(*) FILTER (WHERE payouts.status = 'validated') AS waiting,
               count(*) FILTER (WHERE step.to_status = 'queued') AS started,
               count(*) FILTER (WHERE step.to_status = 'queued' AND step.created_at IS DISTINCT FROM released_at)
                   AS at_another_time
        FROM batch JOIN payouts ON payouts.batch_id = batch.id
        LEFT JOIN payout_transitions AS step ON step.payout_id = payouts.id AND step.sequence = 2
        GROUP BY payouts.batch_id
    ), released AS (
        SELECT batch.id, count(*) AS times, bool_and(actor_kind = 'system') AS by_us
        FROM batch JOIN wallets ON wallets.id = batch.wallet_id JOIN audit_entries AS entry
             ON entry.organization_id = wallets.organization_id
             AND entry.object_id = batch.name
        WHERE entry.action = 'batch.release' AND entry.after ->> 'status' = 'processing'
        GROUP BY batch.id
    )
    SELECT wallet_id, id, why FROM batch LEFT JOIN payout USING (id) LEFT JOIN released USING (id)
    CROSS JOIN LATERAL (SELECT CASE
        WHEN coalesce(payouts, 0) <> payout_count
            THEN 'it has ' || coalesce(payouts, 0) || ' payouts, ' || payout_count || ' were created with it'
        WHEN times > 1 THEN 'it was released ' || times || ' times'
        WHEN released_at IS NULL AND (status IN ('processing', 'completed') OR started > 0)
            THEN 'it was not released, but ' || started || ' of its payouts were queued'
        WHEN released_at IS NOT NULL AND status IN ('queued', 'canceled')
            THEN 'it was released, but is ' || status
        WHEN released_at IS NOT NULL AND waiting > 0
            THEN 'it was released, but ' || waiting || ' of its payouts are still validated'
        WHEN released_at IS NOT NULL AND at_another_time > 0
            THEN at_another_time || ' of its payouts were queued at another time than it was released'
        WHEN released_at < scheduled_for - CAST(:apart AS interval) AND coalesce(by_us, true)
            THEN 'it was released ' || extract(epoch FROM scheduled_for - released_at) || ' s before its time'
        END AS why) AS checked
    WHERE why IS NOT NULL
"""

INVARIANT: Final = Invariant(
    "batches_released",
    "Each batch is released at most once, with all its payouts, and not before its time unless a user releases it",
    BATCHES,
    make_query_check(_VIOLATIONS, BATCH, apart=RELEASE_CLOCK_SKEW),
)
