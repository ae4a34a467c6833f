"""Is no balance below zero, but that of the outside world, and was none after any transfer lately?"""

from typing import Final

from shared.controls.invariants.invariant import Invariant, find_violations_query
from shared.controls.invariants.subjects import WALLETS
from shared.platform.ids import WALLET

_BREAKS: Final = """
    SELECT wallet_id, wallet_id AS id, kind || ' is ' || balance_cents || ' cents' AS why FROM accounts
    WHERE wallet_id = ANY(:ids) AND balance_cents < 0 AND kind <> 'external'
    UNION ALL
    SELECT wallet_id, wallet_id, 'available was ' || min(available_after_cents) || ' cents after a transfer'
    FROM transfers WHERE id >= :since_id AND wallet_id = ANY(:ids) AND available_after_cents < 0 GROUP BY wallet_id
"""

INVARIANT: Final = Invariant(
    "balances", "No account but `external` is below zero, or ever was", WALLETS, find_violations_query(_BREAKS, WALLET)
)
