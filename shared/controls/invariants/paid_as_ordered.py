"""Each payout is paid to its driver, in its amount, on its rail: in our requests and in the events we applied."""

from typing import Final

from shared.controls.invariants.invariant import Invariant, make_query_check
from shared.controls.invariants.subjects import PAYOUTS
from shared.payouts.rails import PROVIDER_RAILS
from shared.platform.ids import PAYOUT

_RAILS: Final = " ".join(f"WHEN '{ours}' THEN '{theirs}'" for ours, theirs in PROVIDER_RAILS.items())

_VIOLATIONS: Final = f"""
    WITH items AS MATERIALIZED (
        SELECT payout_id, submission_id, position, net_cents, recipient_id FROM submission_items
        WHERE payout_id = ANY(:ids) AND NOT dissolved
        UNION ALL
        SELECT payout_id, submission_id, position, net_cents, recipient_id FROM submission_items
        WHERE payout_id = ANY(:ids) AND dissolved
    ), sent AS MATERIALIZED (
        -- A batch's request is parsed once, not once for each of its thousand payments.
        SELECT submissions.id, place - 1 AS position, payment
        FROM submissions CROSS JOIN LATERAL jsonb_array_elements(
            CASE kind WHEN 'batch' THEN request -> 'payments' ELSE jsonb_build_array(request) END
        ) WITH ORDINALITY AS payments (payment, place)
        WHERE submissions.id IN (SELECT submission_id FROM items)
    ), requested AS (
        SELECT payouts.wallet_id, payouts.id, items.submission_id, CASE
            WHEN items.net_cents <> payouts.amount_cents - payouts.fee_cents
                THEN items.net_cents || ' cents are requested, it should be '
                     || (payouts.amount_cents - payouts.fee_cents)
            WHEN items.recipient_id IS DISTINCT FROM drivers.recipient_id
                THEN 'recipient ' || items.recipient_id || ' is requested, its driver is '
                     || coalesce(drivers.recipient_id, 'unknown to Paystream')
            WHEN submissions.rail <> payouts.rail
                THEN 'rail ' || submissions.rail || ' is requested, it should be ' || payouts.rail
            WHEN submissions.wallet_id <> payouts.wallet_id OR drivers.wallet_id <> payouts.wallet_id
                THEN 'it is in another wallet than its driver or its submission'
            WHEN sent.payment IS NULL THEN 'the request does not contain it'
            WHEN sent.payment ->> 'amount' IS DISTINCT FROM CAST(items.net_cents AS text)
                THEN 'the request says ' || coalesce(sent.payment ->> 'amount', 'no') || ' cents, its item '
                     || items.net_cents
            WHEN sent.payment ->> 'recipientId' IS DISTINCT FROM items.recipient_id
                THEN 'the request says recipient ' || coalesce(sent.payment ->> 'recipientId', 'none') || ', its item '
                     || items.recipient_id
            WHEN submissions.kind = 'payment'
                 AND sent.payment ->> 'rail' IS DISTINCT FROM CASE payouts.rail {_RAILS} END
                THEN 'the request says rail ' || coalesce(sent.payment ->> 'rail', 'none') || ', it should be '
                     || payouts.rail
            END AS why
        FROM items JOIN payouts ON payouts.id = items.payout_id JOIN drivers ON drivers.id = payouts.driver_id
        JOIN submissions ON submissions.id = items.submission_id
        LEFT JOIN sent ON sent.id = items.submission_id AND sent.position = items.position
    )
    SELECT wallet_id, id, 'in {{submission}} ' || why AS why, submission_id FROM requested WHERE why IS NOT NULL
    UNION ALL
    SELECT payouts.wallet_id, payouts.id, 'Paystream''s ' || provider_events.type || ' over '
           || coalesce(CAST(provider_events.amount_cents AS text), 'unnamed') || ' cents '
           || coalesce(upper(provider_events.currency), wallets.currency) || ' to '
           || coalesce(provider_events.recipient_id, 'its driver') || ' was applied, our record says '
           || (payouts.amount_cents - payouts.fee_cents) || ' ' || wallets.currency || ' to '
           || coalesce(drivers.recipient_id, 'no recipient yet'), NULL
    FROM provider_events JOIN payouts ON payouts.id = provider_events.payout_id
    JOIN drivers ON drivers.id = payouts.driver_id JOIN wallets ON wallets.id = payouts.wallet_id
    WHERE provider_events.payout_id = ANY(:ids) AND provider_events.status = 'applied' AND (
        provider_events.amount_cents <> payouts.amount_cents - payouts.fee_cents
            AND (provider_events.payment_id IS NOT NULL OR provider_events.amount_cents <> payouts.amount_cents)
        OR upper(provider_events.currency) <> upper(wallets.currency)
        OR provider_events.recipient_id <> drivers.recipient_id
        OR provider_events.driver_id <> payouts.driver_id)
"""

INVARIANT: Final = Invariant(
    "paid_as_ordered",
    "Each payment requested, and each event applied, has its payout's recipient, amount and rail",
    PAYOUTS,
    make_query_check(_VIOLATIONS, PAYOUT),
)
