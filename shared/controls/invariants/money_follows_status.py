"""Each attempt of a payout has moved exactly the money that its status implies."""

from typing import Final

from shared.controls.invariants.invariant import Invariant, make_query_check
from shared.controls.invariants.subjects import PAYOUTS
from shared.platform.ids import PAYOUT

_KINDS: Final = ("reserve", "settle", "fee", "release", "return")

_VIOLATIONS: Final = f"""
    WITH moved AS (
        SELECT payout_id AS id, attempt, count(DISTINCT wallet_id) AS wallets, (array_agg(wallet_id))[1] AS wallet_id,
               {", ".join(f"coalesce(sum(amount_cents) FILTER (WHERE kind = '{kind}'), 0) AS {kind}" for kind in _KINDS)}
        FROM transfers WHERE payout_id = ANY(:ids) GROUP BY payout_id, attempt
    ), attempts AS (
        SELECT id, wallet_id, status, number AS attempt, number < attempt AS earlier, reserved, batch_id, amount_cents,
               amount_cents - fee_cents AS net_cents, fee_cents,
               status IN ('validated', 'queued', 'processing') AS open, status IN ('completed', 'returned') AS paid
        FROM payouts CROSS JOIN LATERAL generate_series(1, attempt) AS number WHERE id = ANY(:ids)
    ), owed AS (
        SELECT id, wallet_id, status, attempt, earlier, reserved, batch_id, open,
               CASE WHEN earlier OR paid OR status = 'failed' OR open AND reserved THEN amount_cents
                    WHEN open THEN 0 END AS reserve,
               CASE WHEN paid AND NOT earlier THEN net_cents ELSE 0 END AS settle,
               CASE WHEN paid AND NOT earlier THEN fee_cents ELSE 0 END AS fee,
               CASE WHEN earlier OR status = 'failed' THEN amount_cents WHEN status <> 'canceled' THEN 0 END AS release,
               CASE WHEN status = 'returned' AND NOT earlier THEN net_cents ELSE 0 END AS return, amount_cents
        FROM attempts
    ), compared AS (
        SELECT coalesce(owed.wallet_id, moved.wallet_id) AS wallet_id, coalesce(owed.id, moved.id) AS id,
               coalesce(owed.attempt, moved.attempt) AS attempt, owed.status, owed.earlier, owed.open, owed.reserved,
               owed.batch_id, owed.id IS NULL AS unknown,
               coalesce(moved.wallets > 1 OR moved.wallet_id <> owed.wallet_id, false) AS elsewhere,
               {", ".join(f"coalesce(moved.{kind}, 0) AS {kind}" for kind in _KINDS)},
               -- A canceled payout reserved its amount or, in a batch that was not released, nothing.
               coalesce(owed.reserve, CASE WHEN coalesce(moved.reserve, 0) = 0 THEN 0 ELSE owed.amount_cents END)
                   AS reserve_owed,
               owed.settle AS settle_owed, owed.fee AS fee_owed,
               coalesce(owed.release, CASE WHEN coalesce(moved.reserve, 0) = 0 THEN 0 ELSE owed.amount_cents END)
                   AS release_owed,
               owed.return AS return_owed
        FROM owed FULL JOIN moved ON moved.id = owed.id AND moved.attempt = owed.attempt
    )
    SELECT wallet_id, id, CASE
        WHEN unknown THEN 'attempt ' || attempt || ' has moved money, but there was no such attempt'
        WHEN elsewhere THEN 'its money was moved in another wallet'
        WHEN NOT earlier AND reserved AND NOT open THEN 'it is ' || status || ', but is marked as reserved'
        WHEN NOT earlier AND NOT reserved AND open AND (status <> 'validated' OR batch_id IS NULL)
            THEN 'it is ' || status || ', but is not marked as reserved'
        ELSE 'attempt ' || attempt || CASE WHEN earlier THEN ' (an earlier one)' ELSE ', ' || status END
             || {" || ".join(f"CASE WHEN {kind} <> {kind}_owed THEN ', {kind} ' || {kind} || ' cents instead of ' || {kind}_owed ELSE '' END" for kind in _KINDS)}
        END AS why
    FROM compared
    WHERE unknown OR elsewhere OR NOT earlier AND (reserved AND NOT open OR NOT reserved AND open
              AND (status <> 'validated' OR batch_id IS NULL))
          OR {" OR ".join(f"{kind} <> {kind}_owed" for kind in _KINDS)}
"""  # noqa: E501 the statement's own lines are short

INVARIANT: Final = Invariant(
    "money_follows_status",
    "Each attempt of a payout has moved what its status implies: reserved once, then paid or released once",
    PAYOUTS,
    make_query_check(_VIOLATIONS, PAYOUT),
)
