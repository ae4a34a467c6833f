"""Payouts that have not ended: how many are in each status, and how old the oldest is."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric

from shared.exporter.gauges import gauges
from shared.models.payouts import Rail
from shared.outgoing.held import held

OLDEST_LOOKED_AT = 100
"""So many of each wallet's payouts at the provider, those accepted first, are looked at for the one that has been there
longest: one that was retried is there for a shorter time than its neighbours."""

# By wallet, as the index goes: a scan of all payouts every few seconds slows everybody.
_COUNTS = sa.text("""
    SELECT open.status, coalesce(sum(found.count), 0)
    FROM wallets CROSS JOIN (VALUES ('validated'), ('queued'), ('processing')) AS open (status)
    CROSS JOIN LATERAL (
        SELECT count(*) FROM payouts WHERE payouts.wallet_id = wallets.id AND payouts.status = open.status
    ) AS found
    GROUP BY open.status
    UNION ALL SELECT 'held', count(*) FROM payouts WHERE held_reason IS NOT NULL
""")

# What waits for us is due soon, and so in a small index; those in a batch that waits for its release are not in it.
# What is paused or frozen waits for a person, who has been told. Instant payouts at the provider are asked about within
# the hour, others are found by their age.
_OLDEST = sa.text(f"""
    SELECT status, rail, extract(epoch FROM clock_timestamp() - min(updated_at))
    FROM payouts
    WHERE status IN ('validated', 'queued') AND next_action_at IS NOT NULL AND held_reason IS NULL
          AND NOT {held("payouts.wallet_id", "payouts.rail")}
    GROUP BY status, rail
    UNION ALL
    SELECT status, rail, extract(epoch FROM clock_timestamp() - min(updated_at))
    FROM payouts
    WHERE status = 'processing' AND next_action_at < clock_timestamp() + interval '2 hours' AND rail = 'instant'
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


def read(connection: sa.Connection) -> Iterator[Metric]:
    """`held` ones wait for a person, and are counted in their status too."""
    counts = {"validated": 0, "queued": 0, "processing": 0, "held": 0}
    counts |= {row[0]: int(row[1]) for row in connection.execute(_COUNTS)}
    yield gauges(
        "ovnpay_payouts", "Payouts that have not ended, by status; those held wait for a person.", ["status"], counts
    )
    ages = {(status, rail.value): 0.0 for status in ("validated", "queued", "processing") for rail in Rail}
    ages |= {(row[0], row[1]): float(row[2]) for row in connection.execute(_OLDEST, {"most": OLDEST_LOOKED_AT})}
    yield gauges(
        "ovnpay_payouts_oldest_age_seconds",
        "How long the payout that has been in a status longest has been there; 0: there is none. Without those "
        "held, paused or frozen, and those whose batch is not released.",
        ["status", "rail"],
        ages,
    )
