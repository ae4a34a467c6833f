"""Each wallet's accounts sum to zero, only `external` is below zero, and each equals its transfers.

For recent changes, transfers of all years are not summed again: balances are compared with the last transfer, open
payouts and pending top-ups instead.
"""

import uuid
from collections.abc import Iterable, Iterator
from typing import Final

import sqlalchemy as sa

from shared.controls.invariants.invariant import SLICE_VIOLATIONS_MAX, Invariant, KeySlice, make_query_check
from shared.controls.invariants.subjects import WALLETS
from shared.platform.ids import WALLET, first_id_at

_SUM_NOT_ZERO: Final = """
    SELECT wallet_id, 'the accounts sum to ' || sum(balance_cents) || ' cents, not to zero' AS why
    FROM accounts WHERE wallet_id = ANY(:ids) GROUP BY wallet_id HAVING sum(balance_cents) <> 0
"""

_TRANSFERS_DIFFER: Final = """
    WITH moved AS (
        SELECT wallet_id, account, sum(cents) AS cents FROM (
            SELECT wallet_id, from_account AS account, -amount_cents AS cents FROM transfers
            WHERE wallet_id = ANY(:ids)
            UNION ALL
            SELECT wallet_id, to_account, amount_cents FROM transfers WHERE wallet_id = ANY(:ids)
        ) AS legs GROUP BY wallet_id, account
    )
    SELECT accounts.wallet_id, accounts.kind || ' has ' || accounts.balance_cents || ' cents, its transfers sum to '
           || coalesce(moved.cents, 0) AS why
    FROM accounts LEFT JOIN moved ON moved.wallet_id = accounts.wallet_id AND moved.account = accounts.kind
    WHERE accounts.wallet_id = ANY(:ids) AND accounts.balance_cents <> coalesce(moved.cents, 0)
"""

_AVAILABLE_DIFFERS: Final = """
    SELECT accounts.wallet_id, 'available has ' || balance_cents || ' cents, its last transfer says '
           || coalesce(last.cents, 0) AS why
    FROM accounts LEFT JOIN LATERAL (
        SELECT available_after_cents AS cents FROM transfers
        WHERE transfers.wallet_id = accounts.wallet_id ORDER BY position DESC LIMIT 1
    ) AS last ON true
    WHERE accounts.wallet_id = ANY(:ids) AND kind = 'available' AND balance_cents <> coalesce(last.cents, 0)
"""

_IN_TRANSIT_DIFFERS: Final = """
    SELECT accounts.wallet_id, 'in_transit has ' || balance_cents || ' cents, open payouts have reserved '
           || coalesce(open.cents, 0) AS why
    FROM accounts LEFT JOIN LATERAL (
        SELECT sum(amount_cents) AS cents FROM payouts
        WHERE payouts.wallet_id = accounts.wallet_id AND status IN ('validated', 'queued', 'processing') AND reserved
    ) AS open ON true
    WHERE accounts.wallet_id = ANY(:ids) AND kind = 'in_transit' AND balance_cents <> coalesce(open.cents, 0)
"""

_PENDING_FUNDING_DIFFERS: Final = """
    SELECT accounts.wallet_id, 'pending_funding has ' || balance_cents || ' cents, pending top-ups sum to '
           || coalesce(sum(amount_cents), 0) AS why
    FROM accounts LEFT JOIN topups ON topups.wallet_id = accounts.wallet_id AND topups.status = 'pending'
    WHERE accounts.wallet_id = ANY(:ids) AND kind = 'pending_funding'
    GROUP BY accounts.wallet_id, balance_cents HAVING balance_cents <> coalesce(sum(amount_cents), 0)
"""

_STATEMENT_DIFFERS: Final = """
    WITH recent AS MATERIALIZED (
        SELECT wallet_id, min(position) AS first FROM transfers
        WHERE id >= :since_id AND wallet_id = ANY(:ids) GROUP BY wallet_id
    ), starts AS MATERIALIZED (  -- one line before the first that is checked
        SELECT wallet_id, coalesce((
            SELECT max(position) FROM transfers
            WHERE transfers.wallet_id = recent.wallet_id AND position < recent.first), first) AS first
        FROM recent
    ), lines AS (
        SELECT transfers.wallet_id, position, available_after_cents, lag(available_after_cents) OVER wallet
               + CASE 'available' WHEN from_account THEN -amount_cents WHEN to_account THEN amount_cents ELSE 0 END
               AS expected_cents
        FROM starts JOIN transfers ON transfers.wallet_id = starts.wallet_id AND position >= starts.first
        WINDOW wallet AS (PARTITION BY transfers.wallet_id ORDER BY position)
    )
    SELECT DISTINCT ON (wallet_id) wallet_id, 'after transfer ' || position || ' available is '
           || available_after_cents || ' cents, by the one before it should be ' || expected_cents AS why
    FROM lines WHERE expected_cents <> available_after_cents ORDER BY wallet_id, position
"""

_EVERY_STEP: Final = tuple(
    sa.text(text) for text in (_SUM_NOT_ZERO, _AVAILABLE_DIFFERS, _IN_TRANSIT_DIFFERS, _PENDING_FUNDING_DIFFERS)
)
_ALL_TRANSFERS: Final = sa.text(_TRANSFERS_DIFFER)
_STATEMENT: Final = sa.text(_STATEMENT_DIFFERS)


def _find(connection: sa.Connection, key_slice: KeySlice) -> Iterator[tuple[uuid.UUID | None, str]]:
    ids = {"ids": list(key_slice.keys)}
    since_id = first_id_at(key_slice.since) if key_slice.since else uuid.UUID(int=0)
    for statement in _EVERY_STEP if key_slice.since else (*_EVERY_STEP, _ALL_TRANSFERS):
        yield from _rows(connection.execute(statement, ids))
    yield from _rows(connection.execute(_STATEMENT, ids | {"since_id": since_id}))


def _rows(rows: Iterable[sa.Row[tuple[object, ...]]]) -> Iterator[tuple[uuid.UUID | None, str]]:
    for row, _ in zip(rows, range(SLICE_VIOLATIONS_MAX), strict=False):
        yield row.wallet_id, row.why


INVARIANT: Final = Invariant(
    "accounts",
    "The accounts of each wallet sum to zero, and each equals its transfers",
    WALLETS,
    _find,
)

_BELOW_ZERO: Final = """
    SELECT wallet_id, wallet_id AS id, kind || ' is ' || balance_cents || ' cents' AS why FROM accounts
    WHERE wallet_id = ANY(:ids) AND balance_cents < 0 AND kind <> 'external'
    UNION ALL
    SELECT wallet_id, wallet_id, 'available was ' || min(available_after_cents) || ' cents after a transfer'
    FROM transfers WHERE id >= :since_id AND wallet_id = ANY(:ids) AND available_after_cents < 0 GROUP BY wallet_id
"""

BALANCES: Final = Invariant(
    "balances",
    "No account except `external` is or was below zero",
    WALLETS,
    make_query_check(_BELOW_ZERO, WALLET),
)
