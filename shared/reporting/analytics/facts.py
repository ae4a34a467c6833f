"""Facts: the meaning of each transfer for analytics, and sums of facts; shared by `fold` and by queries of unfolded
transfers.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from shared.reporting.analytics.waits import MERGED_BIN_SQL, packed_wait_sql

QUARTER_SQL: Final = "date_bin('15 minutes', {moment} AT TIME ZONE 'UTC', timestamp '2000-01-01')"
"""The quarter of an hour of a time, in UTC."""
LOCAL_TIME_SQL: Final = "({quarter} AT TIME ZONE 'UTC' AT TIME ZONE :zone)"
"""The start of a quarter in the organization's time zone. A time belongs to the day on which its quarter began."""

_WAIT: Final = packed_wait_sql("CAST(extract(epoch FROM waited) AS float8)")
_RESERVED_AT: Final = """(SELECT first.created_at FROM transfers AS first
    WHERE first.payout_id = slice.payout_id AND first.attempt = 1 AND first.kind = 'reserve')"""


def facts_query(*slices: str) -> str:
    """Return CTEs: `slice`, the wallet's transfers that meet a condition, and `fact`, those of payouts grouped by their
    meaning, with their number in `transfers`.

    `wait` counts from the first reservation: acceptance or, in a batch, release. `code` is the reason of a failure,
    cancellation or return; of a paid attempt, that of the failed attempt before it.
    """
    selected = " UNION ALL ".join(
        "(SELECT position, kind, payout_id, attempt, amount_cents, created_at FROM transfers "
        f"WHERE wallet_id = :wallet_id AND {condition})"
        for condition in slices
    )
    quarter = QUARTER_SQL.format(moment="slice.created_at")
    return f"""
        slice AS MATERIALIZED ({selected}),
        classified AS MATERIALIZED (
            SELECT slice.position, {quarter} AS quarter, {LOCAL_TIME_SQL.format(quarter=quarter)} AS local,
                   payouts.rail, payouts.driver_id, slice.amount_cents AS cents,
                   CASE slice.kind
                       WHEN 'reserve' THEN CASE slice.attempt WHEN 1 THEN 'accepted' ELSE 'retried' END
                       WHEN 'settle' THEN 'paid'
                       WHEN 'fee' THEN 'fee'
                       WHEN 'release' THEN coalesce(step.to_status, 'failed')
                       WHEN 'return' THEN 'returned' END AS outcome_kind,
                   -- a subquery, because a join would look it up for every transfer
                   CASE slice.kind WHEN 'settle' THEN slice.created_at - {_RESERVED_AT} END AS waited,
                   coalesce(step.failure_code, CASE WHEN payouts.attempt = step.attempt THEN payouts.failure_code END)
                       AS code
            FROM slice JOIN payouts ON payouts.id = slice.payout_id
            LEFT JOIN LATERAL (
                SELECT to_status, attempt, failure_code FROM payout_transitions AS transition
                WHERE transition.payout_id = slice.payout_id
                      AND (slice.kind IN ('release', 'return') OR (slice.kind = 'settle' AND slice.attempt > 1))
                      AND CASE slice.kind
                          WHEN 'release' THEN attempt = slice.attempt AND to_status IN ('failed', 'canceled')
                          WHEN 'settle' THEN attempt = slice.attempt - 1 AND to_status = 'failed'
                          ELSE to_status = 'returned' END
                ORDER BY sequence DESC LIMIT 1
            ) AS step ON true
        ), fact AS (
            SELECT quarter, local, rail, driver_id, outcome_kind, code, wait,
                   count(*) AS transfers, sum(cents) AS cents,
                   min(position) AS first_position, max(position) AS last_position
            FROM (SELECT classified.*, {_WAIT} AS wait FROM classified) AS one
            GROUP BY quarter, local, rail, driver_id, outcome_kind, code, wait
        )
    """


def _sum(column: str, condition: str) -> str:
    return f"CAST(coalesce(sum({column}) FILTER (WHERE {condition}), 0) AS bigint)"


def _count(kind: str) -> str:
    return _sum("transfers", f"outcome_kind = '{kind}'")


def _cents(kind: str) -> str:
    return _sum("cents", f"outcome_kind = '{kind}'")


OUTCOME_SUMS: Final = {
    "paid_count": _count("paid"),
    "net_cents": _cents("paid"),
    "fee_cents": _cents("fee"),
    "failed_count": _count("failed"),
    "failed_cents": _cents("failed"),
    "returned_count": _count("returned"),
    "returned_cents": _cents("returned"),
}
"""Sums over a driver's facts, by column."""

TOTAL_SUMS: Final = {
    "accepted_count": _count("accepted"),
    "accepted_cents": _cents("accepted"),
    "retried_count": _count("retried"),
    "retried_cents": _cents("retried"),
    "canceled_count": _count("canceled"),
    "canceled_cents": _cents("canceled"),
    **OUTCOME_SUMS,
}
"""Sums over all facts, by column."""

WAITS_AGGREGATE: Final = "coalesce(array_agg(wait + transfers - 1) FILTER (WHERE wait IS NOT NULL), '{}')"
"""The packed waits: a fact's `wait` is one packed wait, and `transfers` is their number."""

IS_OUTCOME: Final = "outcome_kind IN ('paid', 'fee', 'failed', 'returned')"
"""Facts that count for a driver."""

FAILURE_SUMS: Final = {
    "count": _sum("transfers", "outcome_kind <> 'paid'"),
    "cents": _sum("cents", "outcome_kind <> 'paid'"),
    "recovered_count": _count("paid"),
}
"""Sums over the facts about failures, by column."""

FAILURE_OUTCOME: Final = "CASE outcome_kind WHEN 'paid' THEN 'failed' ELSE outcome_kind END"
FAILURE_CODE: Final = "coalesce(code, 'UNKNOWN')"
IS_FAILURE: Final = (
    "(outcome_kind IN ('failed', 'returned') OR (outcome_kind IN ('canceled', 'paid') AND code IS NOT NULL))"
)
"""Facts about failures. A cancellation by the customer has no code and is none; a paid attempt has a code if the
attempt before it failed."""


def sum_rows_query(source: str, key: Sequence[str], sums: Iterable[str], *more: str, waits: bool = True) -> str:
    """Sum columns of rows by key; `more` are other aggregates, and `waits` merges the rows' packed waits."""
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
