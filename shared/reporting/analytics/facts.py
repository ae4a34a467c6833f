"""Facts: what each transfer of the ledger says about a payout. The one place that reads it so, for `fold` and for
whoever reads what is not folded yet; and the sums that are made of facts.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from shared.reporting.analytics.waits import MERGED_BIN_SQL, packed_wait_sql

QUARTER_SQL: Final = "date_bin('15 minutes', {moment} AT TIME ZONE 'UTC', timestamp '2000-01-01')"
"""The quarter of an hour that a moment is in, in UTC."""
LOCAL_TIME_SQL: Final = "({quarter} AT TIME ZONE 'UTC' AT TIME ZONE :zone)"
"""Where a quarter begins by the clock in the organization's zone. A moment counts to the day its quarter began on."""

_WAIT: Final = packed_wait_sql("CAST(extract(epoch FROM waited) AS float8)")
_BEGUN: Final = """(SELECT begun.created_at FROM transfers AS begun
    WHERE begun.payout_id = slice.payout_id AND begun.attempt = 1 AND begun.kind = 'reserve')"""


def facts_query(*slices: str) -> str:
    """CTEs: `slice`, transfers of the wallet by these conditions on them, and `fact`, a row for those of them that move
    payouts' money and are alike in all that is added up by: as many as there are drivers, rather than transfers.

    A payout's wait counts from when its money was first set aside: at its acceptance or, in a batch, at the release.
    `code` is why an attempt failed, was canceled or returned or, of a paid one, why the attempt before it had failed.
    """
    chosen = " UNION ALL ".join(
        "(SELECT position, kind, payout_id, attempt, amount_cents, created_at FROM transfers "
        f"WHERE wallet_id = :wallet_id AND {condition})"
        for condition in slices
    )
    quarter = QUARTER_SQL.format(moment="slice.created_at")
    return f"""
        slice AS MATERIALIZED ({chosen}),
        read AS MATERIALIZED (
            SELECT slice.position, {quarter} AS quarter, {LOCAL_TIME_SQL.format(quarter=quarter)} AS local,
                   payouts.rail, payouts.driver_id, slice.amount_cents AS cents,
                   CASE slice.kind
                       WHEN 'reserve' THEN CASE slice.attempt WHEN 1 THEN 'accepted' ELSE 'retried' END
                       WHEN 'settle' THEN 'paid'
                       WHEN 'fee' THEN 'fee'
                       WHEN 'release' THEN coalesce(step.to_status, 'failed')
                       WHEN 'return' THEN 'returned' END AS what,
                   -- looked up for those alone that need it, which a join would do for all
                   CASE slice.kind WHEN 'settle' THEN slice.created_at - {_BEGUN} END AS waited,
                   coalesce(step.failure_code, CASE WHEN payouts.attempt = step.attempt THEN payouts.failure_code END)
                       AS code
            FROM slice JOIN payouts ON payouts.id = slice.payout_id
            LEFT JOIN LATERAL (
                SELECT to_status, attempt, failure_code FROM payout_transitions AS taken
                WHERE taken.payout_id = slice.payout_id
                      AND (slice.kind IN ('release', 'return') OR (slice.kind = 'settle' AND slice.attempt > 1))
                      AND CASE slice.kind
                          WHEN 'release' THEN attempt = slice.attempt AND to_status IN ('failed', 'canceled')
                          WHEN 'settle' THEN attempt = slice.attempt - 1 AND to_status = 'failed'
                          ELSE to_status = 'returned' END
                ORDER BY sequence DESC LIMIT 1
            ) AS step ON true
        ), fact AS (
            SELECT quarter, local, rail, driver_id, what, code, wait, count(*) AS alike, sum(cents) AS cents,
                   min(position) AS first_position, max(position) AS last_position
            FROM (SELECT read.*, {_WAIT} AS wait FROM read) AS one
            GROUP BY quarter, local, rail, driver_id, what, code, wait
        )
    """


def _sum(column: str, condition: str) -> str:
    return f"CAST(coalesce(sum({column}) FILTER (WHERE {condition}), 0) AS bigint)"


def _counted(what: str) -> str:
    return _sum("alike", f"what = '{what}'")


def _cents(what: str) -> str:
    return _sum("cents", f"what = '{what}'")


OUTCOME_SUMS: Final = {
    "paid_count": _counted("paid"),
    "net_cents": _cents("paid"),
    "fee_cents": _cents("fee"),
    "failed_count": _counted("failed"),
    "failed_cents": _cents("failed"),
    "returned_count": _counted("returned"),
    "returned_cents": _cents("returned"),
}
"""What a driver's facts add up to, by column."""

TOTAL_SUMS: Final = {
    "accepted_count": _counted("accepted"),
    "accepted_cents": _cents("accepted"),
    "retried_count": _counted("retried"),
    "retried_cents": _cents("retried"),
    "canceled_count": _counted("canceled"),
    "canceled_cents": _cents("canceled"),
    **OUTCOME_SUMS,
}
"""What all facts add up to, by column."""

WAITS_AGGREGATE: Final = "coalesce(array_agg(wait + alike - 1) FILTER (WHERE wait IS NOT NULL), '{}')"
"""A fact's wait is one of its kind, packed; there are as many as there are facts alike."""

IS_OUTCOME: Final = "what IN ('paid', 'fee', 'failed', 'returned')"
"""The facts that a driver's sums are made of."""

FAILURE_SUMS: Final = {
    "count": _sum("alike", "what <> 'paid'"),
    "cents": _sum("cents", "what <> 'paid'"),
    "recovered_count": _counted("paid"),
}
"""What the facts that tell of failures add up to, by column."""

FAILURE_OUTCOME: Final = "CASE what WHEN 'paid' THEN 'failed' ELSE what END"
FAILURE_CODE: Final = "coalesce(code, 'UNKNOWN')"
IS_FAILURE: Final = "(what IN ('failed', 'returned') OR (what IN ('canceled', 'paid') AND code IS NOT NULL))"
"""The facts that tell of failures. Who cancels a payout himself gives no reason, and it is none; a paid attempt has a
code where the one before it had failed."""


def sum_rows_query(source: str, key: Sequence[str], sums: Iterable[str], *more: str, waits: bool = True) -> str:
    """A SELECT that adds up rows with these columns, for each value of the key. `more` are other aggregates; with
    `waits` the rows' packed waits are added up too.
    """
    by, names = ", ".join(key), list(sums)
    columns = ", ".join([*(f"CAST(sum({name}) AS bigint) AS {name}" for name in names), *more])
    summed = f"SELECT {by}, {columns} FROM {source} GROUP BY {by}"
    if not waits:
        return summed
    return f"""
        SELECT summed.*, coalesce(waited.waits, '{{}}') AS waits FROM ({summed}) AS summed
        LEFT JOIN (
            SELECT {by}, array_agg(packed) AS waits FROM (
                SELECT {by}, {MERGED_BIN_SQL} AS packed FROM {source} CROSS JOIN LATERAL unnest(waits) AS part
                GROUP BY {by}, part >> 32
            ) AS bins GROUP BY {by}
        ) AS waited ON {" AND ".join(f"summed.{name} = waited.{name}" for name in key)}
    """
