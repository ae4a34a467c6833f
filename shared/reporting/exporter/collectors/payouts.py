"""Payouts, submissions and batches that have not ended: how many are in each status, and how old the oldest is."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from shared.holds.conditions import on_hold_condition
from shared.ledger import list_counts
from shared.reporting.exporter.collectors import labeled_gauge
from shared.schema.payouts import Rail

PAYOUTS_SAMPLED_PER_WALLET = 100
"""Payouts at the provider, oldest acceptance first, among which the one longest in its status is found: a retried one
has been there for a shorter time than its neighbors."""

# `processing` payouts may be many: they are the open payouts, for which there is a counter, less the others. Statuses
# are literals, so the planner uses the index by wallet and status.
_COUNTS = sa.text(f"""
    WITH counters AS (
        SELECT coalesce(sum(CASE WHEN name = '{list_counts.PAYOUTS_COUNT}' THEN count ELSE -count END), 0) AS open
        FROM list_counts WHERE name LIKE '{list_counts.PAYOUTS_COUNT}%'
    ), validated AS (
        SELECT coalesce(sum(found.count), 0) AS count FROM wallets CROSS JOIN LATERAL (
            SELECT count(*) FROM payouts WHERE wallet_id = wallets.id AND status = 'validated') AS found
    ), queued AS (
        SELECT coalesce(sum(found.count), 0) AS count FROM wallets CROSS JOIN LATERAL (
            SELECT count(*) FROM payouts WHERE wallet_id = wallets.id AND status = 'queued') AS found
    )
    SELECT validated.count AS validated, queued.count AS queued,
           greatest(counters.open - validated.count - queued.count, 0) AS processing,
           (SELECT count(*) FROM payouts WHERE held_reason IS NOT NULL) AS on_hold
    FROM counters, validated, queued
""")

# Payouts that wait for us are due soon, so a small index has them, without those of a batch that is not released.
# Under an outgoing hold they wait for a person. Instant payouts at the provider are polled within the hour; others are
# sampled by wallet.
_OLDEST = sa.text(f"""
    SELECT status, rail, extract(epoch FROM clock_timestamp() - min(updated_at))
    FROM payouts
    WHERE status IN ('validated', 'queued') AND next_action_at IS NOT NULL AND held_reason IS NULL
          AND NOT {on_hold_condition("payouts.wallet_id", "payouts.rail")}
    GROUP BY status, rail
    UNION ALL
    SELECT status, rail, extract(epoch FROM clock_timestamp() - min(updated_at))
    FROM payouts
    WHERE status = 'processing' AND next_action_at < statement_timestamp() + interval '2 hours' AND rail = 'instant'
          AND held_reason IS NULL
    GROUP BY status, rail
    UNION ALL
    SELECT 'processing', first.rail, extract(epoch FROM clock_timestamp() - min(first.updated_at))
    FROM wallets CROSS JOIN LATERAL (
        SELECT rail, updated_at, held_reason FROM payouts
        WHERE payouts.wallet_id = wallets.id AND payouts.status = 'processing' ORDER BY payouts.id LIMIT :most
    ) AS first
    WHERE first.rail <> 'instant' AND first.held_reason IS NULL
    GROUP BY first.rail
""")


def collect_payouts(connection: sa.Connection) -> Iterator[Metric]:
    """Yield open payouts by status. Those on hold count in their status too."""
    counts = connection.execute(_COUNTS).one()._asdict()
    text = "Payouts that have not ended, by status; those in on_hold wait for a person and count in their status too."
    yield labeled_gauge("ovnpay_payouts", text, ["status"], {status: float(count) for status, count in counts.items()})
    ages = {(status, rail.value): 0.0 for status in ("validated", "queued", "processing") for rail in Rail}
    rows = connection.execute(_OLDEST, {"most": PAYOUTS_SAMPLED_PER_WALLET})
    ages |= {(row[0], row[1]): float(row[2]) for row in rows}
    yield labeled_gauge(
        "ovnpay_payouts_oldest_age_seconds",
        "Time that the payout longest in a status has been there; 0: there is none. Without payouts on hold, paused, "
        "frozen, or of a batch that is not released.",
        ["status", "rail"],
        ages,
    )


_SUBMISSIONS = sa.text(f"""
    SELECT status, count(*), coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0)
    FROM submissions
    WHERE (next_action_at IS NOT NULL AND status IN ('prepared', 'unknown')
           AND NOT (first_sent_at IS NULL AND {on_hold_condition("submissions.wallet_id", "submissions.rail")}))
          OR status = 'unresolved'
    GROUP BY status
""")


def collect_submissions(connection: sa.Connection) -> Iterator[Metric]:
    """Yield submissions without an outcome, except those that an outgoing hold stopped before they were sent."""
    counts, ages = (dict.fromkeys(("prepared", "unknown", "unresolved"), 0.0) for _ in range(2))
    for status, count, age_seconds in connection.execute(_SUBMISSIONS):
        counts[status], ages[status] = float(count), float(age_seconds)
    text = "Submissions without an outcome: prepared, unknown (sent again), unresolved (a person decides)."
    yield labeled_gauge("ovnpay_submissions", text, ["status"], counts)
    yield labeled_gauge(
        "ovnpay_submissions_oldest_age_seconds",
        "Age of the oldest submission without an outcome; 0: there is none.",
        ["status"],
        ages,
    )


_OPEN_BATCHES = sa.text("""
    SELECT open.status, coalesce(sum(found.count), 0)
    FROM wallets CROSS JOIN (VALUES ('queued'), ('processing')) AS open (status)
    CROSS JOIN LATERAL (
        SELECT count(*) FROM batches WHERE batches.wallet_id = wallets.id AND batches.status = open.status
    ) AS found
    GROUP BY open.status
""")

# By the scheduled time, because the scheduler postpones `next_action_at` each time it enqueues the batch.
_OVERDUE_BATCHES = sa.text("""
    SELECT count(*), coalesce(extract(epoch FROM clock_timestamp() - min(scheduled_for)), 0)
    FROM batches WHERE next_action_at IS NOT NULL AND status = 'queued' AND scheduled_for <= statement_timestamp()
""")


def collect_batches(connection: sa.Connection) -> Iterator[Metric]:
    """Yield open and overdue batches. A batch without a scheduled time is never overdue."""
    counts = {"queued": 0, "processing": 0} | {row[0]: int(row[1]) for row in connection.execute(_OPEN_BATCHES)}
    yield labeled_gauge("ovnpay_batches", "Batches that have not ended, by status.", ["status"], counts)
    count, age_seconds = connection.execute(_OVERDUE_BATCHES).one()
    text = "Batches that are past their scheduled time and not released."
    yield GaugeMetricFamily("ovnpay_batches_overdue", text, value=count)
    text = "Time since the scheduled time of the batch longest overdue; 0: there is none."
    yield GaugeMetricFamily("ovnpay_batches_overdue_age_seconds", text, value=float(age_seconds))
