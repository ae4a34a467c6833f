"""Payouts that have not ended: how many are in each status, and how old the oldest is."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric

from shared.holds.conditions import on_hold_condition
from shared.ledger import list_counts
from shared.reporting.exporter.gauges import labeled_gauge
from shared.schema.payouts import Rail

PAYOUTS_SAMPLED_PER_WALLET = 100
"""So many of each wallet's payouts at the provider, those accepted first, are looked at for the one that has been there
longest: one that was retried is there for a shorter time than its neighbours."""

# Those at the provider may be many: they are what is left of all that have not ended, which are kept counted. The
# statuses stand in the statement, so that it is planned for them: by wallet, as the index goes, never over the table.
_COUNTS = sa.text(f"""
    WITH kept AS (
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
           greatest(kept.open - validated.count - queued.count, 0) AS processing,
           (SELECT count(*) FROM payouts WHERE held_reason IS NOT NULL) AS held
    FROM kept, validated, queued
""")

# What waits for us is due soon, and so in a small index; those in a batch that waits for its release are not in it.
# What is paused or frozen waits for a person, who has been told. Instant payouts at the provider are asked about within
# the hour, others are found by their age.
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
    """`on_hold_condition` ones wait for a person, and are counted in their status too."""
    found = connection.execute(_COUNTS).one()._asdict()
    text = "Payouts that have not ended, by status; those held wait for a person."
    yield labeled_gauge("ovnpay_payouts", text, ["status"], {status: float(count) for status, count in found.items()})
    ages = {(status, rail.value): 0.0 for status in ("validated", "queued", "processing") for rail in Rail}
    ages |= {
        (row[0], row[1]): float(row[2]) for row in connection.execute(_OLDEST, {"most": PAYOUTS_SAMPLED_PER_WALLET})
    }
    yield labeled_gauge(
        "ovnpay_payouts_oldest_age_seconds",
        "How long the payout that has been in a status longest has been there; 0: there is none. Without those "
        "held, paused or frozen, and those whose batch is not released.",
        ["status", "rail"],
        ages,
    )
