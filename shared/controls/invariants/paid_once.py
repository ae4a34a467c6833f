"""Each payout is paid at most once: one live request per attempt, another only after a definite rejection."""

from typing import Final

from shared.controls.invariants.invariant import Invariant, make_query_check
from shared.controls.invariants.subjects import PAYOUTS
from shared.platform.ids import PAYOUT

_ITEMS: Final = """
    SELECT payout_id, attempt, submission_id, dissolved, provider_payment_id FROM submission_items
    WHERE payout_id = ANY(:ids) AND NOT dissolved
    UNION ALL
    SELECT payout_id, attempt, submission_id, dissolved, provider_payment_id FROM submission_items
    WHERE payout_id = ANY(:ids) AND dissolved
"""

_VIOLATIONS: Final = f"""
    WITH items AS MATERIALIZED ({_ITEMS}), completed AS (
        SELECT items.payout_id, string_agg(DISTINCT payment_id, ' and ') AS payments
        FROM items JOIN provider_events ON payment_id = items.provider_payment_id
        WHERE split_part(type, '.', 2) = 'completed'
        GROUP BY items.payout_id HAVING count(DISTINCT payment_id) > 1
    )
    SELECT wallet_id, id, 'Paystream completed several payments for it: ' || payments AS why,
           NULL::uuid AS submission_id
    FROM completed JOIN payouts ON payouts.id = completed.payout_id
    UNION ALL
    SELECT payouts.wallet_id, payouts.id, 'it was taken out of {{submission}}, which Paystream has not rejected: it is '
           || submissions.status, items.submission_id
    FROM items JOIN submissions ON submissions.id = items.submission_id JOIN payouts ON payouts.id = items.payout_id
    WHERE items.dissolved AND submissions.status <> 'rejected'
    UNION ALL
    SELECT payouts.wallet_id, payouts.id, 'it is ' || payouts.status || ' in attempt ' || payouts.attempt
           || ', but {{submission}} requests attempt ' || items.attempt, items.submission_id
    FROM items JOIN payouts ON payouts.id = items.payout_id
    WHERE NOT items.dissolved AND (items.attempt > payouts.attempt OR items.attempt = payouts.attempt
          AND payouts.status IN ('validated', 'queued', 'canceled'))
    UNION ALL
    SELECT payouts.wallet_id, payouts.id, 'it is ' || payouts.status || ' in attempt ' || payouts.attempt
           || ', but its submission does not request that', NULL
    FROM payouts LEFT JOIN items
         ON items.payout_id = payouts.id AND items.attempt = payouts.attempt AND NOT items.dissolved
    WHERE payouts.id = ANY(:ids) AND payouts.status IN ('processing', 'completed', 'failed', 'returned')
          AND payouts.submission_id IS DISTINCT FROM items.submission_id
"""

INVARIANT: Final = Invariant(
    "paid_once", "Paystream pays each payout at most once", PAYOUTS, make_query_check(_VIOLATIONS, PAYOUT)
)
