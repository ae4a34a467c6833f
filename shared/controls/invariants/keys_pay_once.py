"""Has each idempotency key made its payouts, or its batch, at most once?

What a request makes is in the audit log, with a hash of its key, in the transaction that also remembers its answer
under that key, at the same instant. A second making under the key would be an entry beside which no answer was
remembered. Entries about keys that may have been forgotten are not looked at.
"""

from datetime import timedelta
from typing import Final

from shared.controls.invariants.invariant import Invariant, find_violations_query
from shared.controls.invariants.subjects import WHOLE_DATABASE
from shared.platform.idempotency import KEY_LIFETIME
from shared.platform.ids import AUDIT

_FORGETTING: Final = timedelta(hours=1)

_BREAKS: Final = """
    SELECT entry.wallet_id, entry.id, entry.action || ' of ' || coalesce(entry.object_id, after ->> 'ids')
           || ' under an idempotency key that had been used, or whose answer was not remembered' AS why
    FROM organizations CROSS JOIN LATERAL (
        SELECT * FROM audit_entries
        WHERE organization_id = organizations.id AND id >= :since_id AND at > :now - CAST(:lifetime AS interval)
              AND action IN ('payout.create', 'batch.create') AND wallet_id = ANY(:ids)
              AND after ->> 'idempotencyKeyHash' IS NOT NULL
    ) AS entry
    WHERE NOT EXISTS (
        SELECT FROM idempotency_keys
        WHERE expires_at = entry.at + CAST(:kept AS interval) AND idempotency_keys.wallet_id = entry.wallet_id
              AND encode(sha256(convert_to(key, 'UTF8')), 'hex') = entry.after ->> 'idempotencyKeyHash')
"""

INVARIANT: Final = Invariant(
    "keys_pay_once",
    "Each idempotency key has made its payouts, or its batch, at most once",
    WHOLE_DATABASE,
    find_violations_query(_BREAKS, AUDIT, lifetime=KEY_LIFETIME - _FORGETTING, kept=KEY_LIFETIME),
)
