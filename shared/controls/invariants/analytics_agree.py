"""The sums of analytics agree with the ledger, up to the position folded last."""

from typing import Final

from shared.controls.invariants.invariant import Invariant, make_query_check
from shared.controls.invariants.subjects import WALLETS
from shared.platform.ids import WALLET

_NAMES: Final = ("reserved", "net", "fee", "released", "returned")

_LEDGER: Final = """
    SELECT transfers.wallet_id, sum(amount_cents) FILTER (WHERE kind = 'reserve') AS reserved,
           sum(amount_cents) FILTER (WHERE kind = 'settle') AS net,
           sum(amount_cents) FILTER (WHERE kind = 'fee') AS fee,
           sum(amount_cents) FILTER (WHERE kind = 'release') AS released,
           sum(amount_cents) FILTER (WHERE kind = 'return') AS returned
    FROM transfers JOIN analytics_folds USING (wallet_id)
    WHERE transfers.position <= analytics_folds.position AND transfers.wallet_id = ANY(:ids)
    GROUP BY transfers.wallet_id
"""

_VIOLATIONS: Final = f"""
    WITH ledger AS ({_LEDGER}), totals AS (
        SELECT wallet_id, grain, sum(accepted_cents + retried_cents) AS reserved, sum(net_cents) AS net,
               sum(fee_cents) AS fee, sum(failed_cents + canceled_cents) AS released, sum(returned_cents) AS returned,
               sum(failed_cents) AS failed
        FROM analytics_totals WHERE wallet_id = ANY(:ids) GROUP BY wallet_id, grain
    ), drivers AS (
        SELECT wallet_id, grain, sum(net_cents) AS net, sum(fee_cents) AS fee, sum(failed_cents) AS failed,
               sum(returned_cents) AS returned FROM analytics_drivers
        WHERE wallet_id = ANY(:ids) GROUP BY wallet_id, grain
    ), failures AS (
        SELECT wallet_id, grain, sum(cents) FILTER (WHERE outcome = 'failed') AS failed,
               sum(cents) FILTER (WHERE outcome = 'returned') AS returned FROM analytics_failures
        WHERE wallet_id = ANY(:ids) GROUP BY wallet_id, grain
    ), stored (wallet_id, grain, source, cents) AS (
        {" UNION ALL ".join(f"SELECT wallet_id, grain, 'totals: {name}', {name} FROM totals" for name in _NAMES)}
        UNION ALL SELECT wallet_id, grain, 'drivers: net', net FROM drivers
        UNION ALL SELECT wallet_id, grain, 'drivers: fee', fee FROM drivers
        UNION ALL SELECT wallet_id, grain, 'drivers: returned', returned FROM drivers
        UNION ALL SELECT wallet_id, grain, 'drivers: failed', failed FROM drivers
        UNION ALL SELECT wallet_id, grain, 'failures: failed', failed FROM failures
        UNION ALL SELECT wallet_id, grain, 'failures: returned', returned FROM failures
    ), expected (wallet_id, grain, source, cents) AS (
        SELECT ledger.wallet_id, grain, source, cents FROM ledger
        CROSS JOIN unnest(ARRAY['quarter', 'day', 'week', 'month', 'year']) AS grain
        LEFT JOIN totals USING (wallet_id, grain)
        CROSS JOIN LATERAL (VALUES
            {", ".join(f"('totals: {name}', ledger.{name})" for name in _NAMES)},
            ('drivers: net', ledger.net), ('drivers: fee', ledger.fee), ('drivers: returned', ledger.returned),
            ('drivers: failed', totals.failed), ('failures: failed', totals.failed),
            ('failures: returned', ledger.returned)) AS kinds (source, cents)
    )
    SELECT wallet_id, wallet_id AS id, source || ' by ' || grain || ' is ' || coalesce(stored.cents, 0)
           || ' cents, the ledger says ' || coalesce(expected.cents, 0) AS why
    FROM stored FULL JOIN expected USING (wallet_id, grain, source)
    WHERE coalesce(stored.cents, 0) <> coalesce(expected.cents, 0)
"""

INVARIANT: Final = Invariant(
    "analytics_agree",
    "The sums of analytics agree with the ledger",
    WALLETS,
    make_query_check(_VIOLATIONS, WALLET),
    check_changes=False,
)
