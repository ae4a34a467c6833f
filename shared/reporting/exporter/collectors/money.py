"""Where the money is, and whether each wallet's accounts sum to zero."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from shared.reporting.exporter.collectors import labeled_gauge

_ACCOUNTS = sa.text("""
    SELECT wallets.mode, accounts.kind, sum(balance_cents) FROM accounts JOIN wallets ON wallets.id = wallet_id
    GROUP BY wallets.mode, accounts.kind
""")

_IMBALANCE = sa.text("""
    SELECT coalesce(sum(abs(cents)), 0)
    FROM (SELECT sum(balance_cents) AS cents FROM accounts GROUP BY wallet_id) AS of_wallets
""")


def collect_balances(connection: sa.Connection) -> Iterator[Metric]:
    """Yield the sums over all wallets of a mode: a single wallet's balance is its owner's business."""
    balances = {(row[0], row[1]): float(row[2]) for row in connection.execute(_ACCOUNTS)}
    yield labeled_gauge(
        "ovnpay_ledger_balance_cents", "Balance of all wallets by account.", ["mode", "account"], balances
    )
    yield GaugeMetricFamily(
        "ovnpay_ledger_imbalance_cents",
        "Sum of the wallets' deviations from zero in cents; any but 0 pages.",
        value=float(connection.scalar(_IMBALANCE) or 0),
    )
