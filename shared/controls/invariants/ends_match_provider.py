"""A payout is completed exactly if Paystream paid it, and failed or canceled exactly if it did not.

Compared with webhooks, polled statuses and rejections; payouts on hold already wait for a person.
"""

from typing import Final

from shared.controls.invariants.invariant import Invariant, make_query_check
from shared.controls.invariants.subjects import PAYOUTS
from shared.platform.ids import PAYOUT

_VIOLATIONS: Final = """
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
    ), reported AS (
        SELECT payout_id, payment_id, split_part(type, '.', 2) AS state, status FROM provider_events
        WHERE payout_id = ANY(:ids)
    )
    SELECT wallet_id, id, CASE
        WHEN status <> 'failed' AND (first_sent_at IS NULL OR answer = 'rejected')
            THEN 'it is recorded as paid, but Paystream '
                 || CASE WHEN first_sent_at IS NULL THEN 'was never sent a request for it' ELSE 'rejected it' END
        WHEN status <> 'failed' THEN 'it is recorded as paid by a webhook, but no applied webhook says so'
        WHEN reason = 'refused'
            THEN 'it is recorded as rejected, but Paystream''s answer was ' || coalesce(answer, 'none')
        ELSE 'it is recorded as failed by a webhook, but no applied webhook says so' END AS why, submission_id
    FROM ended
    WHERE status <> 'failed' AND (first_sent_at IS NULL OR answer = 'rejected')
       OR status <> 'failed' AND reason = 'webhook' AND NOT EXISTS (
            SELECT FROM reported WHERE payout_id = ended.id AND reported.status = 'applied'
                   AND state IN ('completed', 'returned'))
       OR status = 'failed' AND reason = 'refused' AND answer IS DISTINCT FROM 'rejected'
       OR status = 'failed' AND reason = 'webhook' AND NOT EXISTS (
            SELECT FROM reported WHERE payout_id = ended.id AND reported.status = 'applied'
                   AND state IN ('failed', 'canceled'))
    UNION ALL
    SELECT payouts.wallet_id, payouts.id, 'it is ' || payouts.status || ', but Paystream says '
           || reported.payment_id || ' was ' || reported.state, NULL
    FROM reported JOIN payouts ON payouts.id = reported.payout_id
    JOIN submission_items AS items ON items.payout_id = payouts.id AND items.attempt = payouts.attempt
         AND NOT items.dissolved AND items.provider_payment_id = reported.payment_id
    WHERE reported.status IN ('applied', 'ignored') AND payouts.held_reason IS NULL
          AND (reported.state IN ('completed', 'returned') AND payouts.status NOT IN ('completed', 'returned')
               OR reported.state IN ('failed', 'canceled') AND payouts.status NOT IN ('failed', 'queued'))
"""

INVARIANT: Final = Invariant(
    "ends_match_provider",
    "A payout is completed exactly if Paystream paid it, and failed or canceled exactly if it did not",
    PAYOUTS,
    make_query_check(_VIOLATIONS, PAYOUT),
)
