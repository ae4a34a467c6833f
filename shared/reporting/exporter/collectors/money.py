"""Where the money is, and whether each wallet's accounts still sum to zero."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric

from shared.reporting.exporter.gauges import gauge, labeled_gauge

_ACCOUNTS = sa.text("""
    SELECT wallets.mode, accounts.kind, sum(balance_cents) FROM accounts JOIN wallets ON wallets.id = wallet_id
    GROUP BY wallets.mode, accounts.kind
""")

_IMBALANCE = sa.text("""
    SELECT coalesce(sum(abs(cents)), 0)
    FROM (SELECT sum(balance_cents) AS cents FROM accounts GROUP BY wallet_id) AS of_wallets
""")


def collect_balances(connection: sa.Connection) -> Iterator[Metric]:
    """All wallets of a mode together: what each has is its owner's business."""
    balances = {(row[0], row[1]): float(row[2]) for row in connection.execute(_ACCOUNTS)}
    yield labeled_gauge(
        "ovnpay_ledger_balance_cents", "What the wallets hold together, by account.", ["mode", "account"], balances
    )
    yield gauge(
        "ovnpay_ledger_imbalance_cents",
        "By how much wallets' accounts do not sum to zero; anything but 0 is a page.",
        float(connection.scalar(_IMBALANCE) or 0),
    )
