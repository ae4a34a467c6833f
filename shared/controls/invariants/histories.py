"""Each payout's history is a path of allowed steps to its current status."""

from typing import Final

from shared.controls.invariants.invariant import Invariant, make_query_check
from shared.controls.invariants.subjects import PAYOUTS
from shared.payouts.lifecycle import EDGES
from shared.platform.database import encode_rows
from shared.platform.ids import PAYOUT
from shared.schema.payouts import PayoutStatus

_VIOLATIONS: Final = """
    WITH edges AS (
        SELECT * FROM json_to_recordset(CAST(:edges AS json)) AS edge (source text, target text, step int)
    ), steps AS (
        SELECT payout_id, sequence, from_status, to_status, attempt, lag(sequence, 1, 0) OVER path AS sequence_before,
               lag(to_status) OVER path AS status_before, lag(attempt, 1, 1) OVER path AS attempt_before,
               lead(sequence) OVER path IS NULL AS last
        FROM payout_transitions WHERE payout_id = ANY(:ids) WINDOW path AS (PARTITION BY payout_id ORDER BY sequence)
    ), wrong AS (
        SELECT payout_id, min(CASE
            WHEN sequence <> sequence_before + 1 THEN 'step ' || sequence || ' follows step ' || sequence_before
            WHEN from_status IS DISTINCT FROM status_before
                THEN 'step ' || sequence || ' starts from ' || coalesce(from_status, 'nothing')
                     || ', the one before ended at ' || coalesce(status_before, 'nothing')
            WHEN edges.step IS NULL
                THEN 'step ' || sequence || ', ' || coalesce(from_status, 'nothing') || ' to ' || to_status
                     || ', is not allowed'
            ELSE 'step ' || sequence || ' is of attempt ' || attempt || ', the one before was of ' || attempt_before
            END) AS why
        FROM steps LEFT JOIN edges ON edges.source = coalesce(from_status, '') AND edges.target = to_status
        WHERE sequence <> sequence_before + 1 OR from_status IS DISTINCT FROM status_before
              OR edges.step IS NULL OR attempt <> attempt_before + edges.step
        GROUP BY payout_id
    )
    SELECT payouts.wallet_id, payouts.id, coalesce(wrong.why, CASE
        WHEN steps.payout_id IS NULL THEN 'it has no history'
        ELSE 'its history ends at ' || steps.to_status || ' after ' || steps.sequence || ' steps in attempt '
             || steps.attempt || ', it is ' || payouts.status || ' after ' || payouts.sequence || ' in attempt '
             || payouts.attempt END) AS why
    FROM payouts LEFT JOIN steps ON steps.payout_id = payouts.id AND steps.last
    LEFT JOIN wrong ON wrong.payout_id = payouts.id
    WHERE payouts.id = ANY(:ids) AND (wrong.why IS NOT NULL OR steps.payout_id IS NULL
          OR (steps.to_status, steps.sequence, steps.attempt) <> (payouts.status, payouts.sequence, payouts.attempt))
"""

_EDGES: Final = encode_rows(
    [{"source": "", "target": PayoutStatus.VALIDATED, "step": 0}]
    + [
        {"source": source, "target": target, "step": int(effect.new_attempt)}
        for (source, target), effect in EDGES.items()
    ]
)

INVARIANT: Final = Invariant(
    "histories",
    "Each payout's history is a path of allowed steps, without a gap, and ends at its status",
    PAYOUTS,
    make_query_check(_VIOLATIONS, PAYOUT, edges=_EDGES),
)
