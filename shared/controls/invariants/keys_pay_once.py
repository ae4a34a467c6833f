"""Each idempotency key created its payouts, or its batch, at most once.

Creation writes an audit entry with the key's hash and stores the response under the key at the same instant: a second
creation leaves an entry without such a response. Entries of expired keys are not checked.
"""

from datetime import timedelta
from typing import Final

from shared.controls.invariants.invariant import Invariant, make_query_check
from shared.controls.invariants.subjects import WHOLE_DATABASE
from shared.platform.idempotency import KEY_LIFETIME
from shared.platform.ids import AUDIT

_EXPIRY_MARGIN: Final = timedelta(hours=1)

_VIOLATIONS: Final = """
    SELECT entry.wallet_id, entry.id, entry.action || ' of ' || coalesce(entry.object_id, after ->> 'ids')
           || ' under an idempotency key that was used before, or whose response was not stored' AS why
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
    "Each idempotency key created its payouts, or its batch, at most once",
    WHOLE_DATABASE,
    make_query_check(_VIOLATIONS, AUDIT, lifetime=KEY_LIFETIME - _EXPIRY_MARGIN, kept=KEY_LIFETIME),
)
