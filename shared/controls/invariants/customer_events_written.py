"""Is the customer told of each step that he is to hear of, once, and of nothing else?"""

from typing import Final

from shared.controls.invariants.invariant import Invariant, find_violations_query
from shared.controls.invariants.subjects import PAYOUTS
from shared.payouts.allowed_edges import EDGES
from shared.platform.database import encode_rows
from shared.platform.ids import PAYOUT
from shared.schema.payouts import PayoutStatus

_BREAKS: Final = """
    WITH told AS (
        SELECT payout_id, sequence, count(*) AS times, min(type) AS type, count(DISTINCT type) AS types
        FROM customer_events WHERE payout_id = ANY(:ids) GROUP BY payout_id, sequence
    ), due AS (
        SELECT payout_id, sequence, edge.event AS type FROM payout_transitions
        JOIN json_to_recordset(CAST(:edges AS json)) AS edge (source text, target text, event text)
             ON edge.source = coalesce(from_status, '') AND edge.target = to_status
        WHERE payout_id = ANY(:ids)
    )
    SELECT payouts.wallet_id, payouts.id, CASE
        WHEN told.times IS NULL THEN 'nobody was told ' || due.type || ' of step ' || due.sequence
        WHEN due.type IS NULL THEN told.type || ' was told of step ' || told.sequence || ', which has nothing to tell'
        WHEN told.times > 1 THEN due.type || ' was told ' || told.times || ' times of step ' || due.sequence
        ELSE told.type || ' was told of step ' || told.sequence || ' instead of ' || due.type END AS why
    FROM due FULL JOIN told ON told.payout_id = due.payout_id AND told.sequence = due.sequence
    JOIN payouts ON payouts.id = coalesce(due.payout_id, told.payout_id)
    WHERE due.type IS DISTINCT FROM told.type OR told.times <> 1
"""

_EDGES: Final = encode_rows(
    [{"source": "", "target": PayoutStatus.VALIDATED, "event": "payout.created"}]
    + [
        {"source": source, "target": target, "event": effect.event}
        for (source, target), effect in EDGES.items()
        if effect.event
    ]
)

INVARIANT: Final = Invariant(
    "events_told",
    "Each step of a payout that the customer is to hear of has its event, once",
    PAYOUTS,
    find_violations_query(_BREAKS, PAYOUT, edges=_EDGES),
)
