"""Is a payout completed exactly if Paystream paid it, and failed or canceled exactly if it did not?

By what we know of its word: webhooks that were applied, answers to our questions, refusals. Payouts that are held are
left out: there Paystream contradicts itself or us, and a person looks already.
"""

from typing import Final

from shared.controls.invariants.invariant import Invariant, find_violations_query
from shared.controls.invariants.subjects import PAYOUTS
from shared.platform.ids import PAYOUT

_BREAKS: Final = """
    WITH ended AS (
        SELECT payouts.wallet_id, payouts.id, payouts.status, step.reason, items.submission_id,
               items.provider_payment_id, submissions.status AS answer, submissions.first_sent_at
        FROM payouts
        CROSS JOIN LATERAL (
            SELECT reason FROM payout_transitions
            WHERE payout_id = payouts.id
                  AND to_status = CASE payouts.status WHEN 'returned' THEN 'completed' ELSE payouts.status END
            ORDER BY sequence DESC LIMIT 1
        ) AS step
        LEFT JOIN submission_items AS items
             ON items.payout_id = payouts.id AND items.attempt = payouts.attempt AND NOT items.dissolved
        LEFT JOIN submissions ON submissions.id = items.submission_id
        WHERE payouts.id = ANY(:ids) AND payouts.held_reason IS NULL
              AND payouts.status IN ('completed', 'returned', 'failed')
    ), said AS (
        SELECT payout_id, payment_id, split_part(type, '.', 2) AS state, status FROM provider_events
        WHERE payout_id = ANY(:ids)
    )
    SELECT wallet_id, id, CASE
        WHEN status <> 'failed' AND (first_sent_at IS NULL OR answer = 'rejected')
            THEN 'it counts as paid, and Paystream '
                 || CASE WHEN first_sent_at IS NULL THEN 'was never asked for it' ELSE 'has refused it' END
        WHEN status <> 'failed' THEN 'it counts as paid by a webhook, and none that was applied says so'
        WHEN reason = 'refused' THEN 'it counts as refused, and Paystream''s answer was ' || coalesce(answer, 'none')
        ELSE 'it counts as failed by a webhook, and none that was applied says so' END AS why, submission_id
    FROM ended
    WHERE status <> 'failed' AND (first_sent_at IS NULL OR answer = 'rejected')
       OR status <> 'failed' AND reason = 'webhook' AND NOT EXISTS (
            SELECT FROM said WHERE payout_id = ended.id AND said.status = 'applied'
                   AND state IN ('completed', 'returned'))
       OR status = 'failed' AND reason = 'refused' AND answer IS DISTINCT FROM 'rejected'
       OR status = 'failed' AND reason = 'webhook' AND NOT EXISTS (
            SELECT FROM said WHERE payout_id = ended.id AND said.status = 'applied' AND state IN ('failed', 'canceled'))
    UNION ALL
    SELECT payouts.wallet_id, payouts.id, 'it is ' || payouts.status || ', and Paystream says that '
           || said.payment_id || ' was ' || said.state, NULL
    FROM said JOIN payouts ON payouts.id = said.payout_id
    JOIN submission_items AS items ON items.payout_id = payouts.id AND items.attempt = payouts.attempt
         AND NOT items.dissolved AND items.provider_payment_id = said.payment_id
    WHERE said.status IN ('applied', 'ignored') AND payouts.held_reason IS NULL
          AND (said.state IN ('completed', 'returned') AND payouts.status NOT IN ('completed', 'returned')
               OR said.state IN ('failed', 'canceled') AND payouts.status NOT IN ('failed', 'queued'))
"""

INVARIANT: Final = Invariant(
    "ended_as_told",
    "A payout is completed exactly if Paystream paid it, failed or canceled exactly if it did not",
    PAYOUTS,
    find_violations_query(_BREAKS, PAYOUT),
)
