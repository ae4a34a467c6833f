"""Do the accounts add up? Each wallet's sum to zero, none but `external` is below it, each equals its transfers, and
each line of the statement follows from the one before.

Of what has changed lately the sums are not made anew from years of transfers: `available` is what its last transfer
says, `in_transit` what open payouts have reserved, `pending_funding` what top-ups await, and all five sum to zero.
"""

import uuid
from collections.abc import Iterable, Iterator
from typing import Final

import sqlalchemy as sa

from shared.controls.invariants.invariant import SLICE_VIOLATIONS_MAX, Invariant, KeySlice
from shared.controls.invariants.subjects import WALLETS
from shared.platform.ids import first_id_at

_UNBALANCED: Final = """
    SELECT wallet_id, 'the accounts sum to ' || sum(balance_cents) || ' cents, not to zero' AS why
    FROM accounts WHERE wallet_id = ANY(:ids) GROUP BY wallet_id HAVING sum(balance_cents) <> 0
"""

_TRANSFERS: Final = """
    WITH moved AS (
        SELECT wallet_id, account, sum(cents) AS cents FROM (
            SELECT wallet_id, from_account AS account, -amount_cents AS cents FROM transfers
            WHERE wallet_id = ANY(:ids)
            UNION ALL
            SELECT wallet_id, to_account, amount_cents FROM transfers WHERE wallet_id = ANY(:ids)
        ) AS legs GROUP BY wallet_id, account
    )
    SELECT accounts.wallet_id, accounts.kind || ' holds ' || accounts.balance_cents || ' cents, its transfers say '
           || coalesce(moved.cents, 0) AS why
    FROM accounts LEFT JOIN moved ON moved.wallet_id = accounts.wallet_id AND moved.account = accounts.kind
    WHERE accounts.wallet_id = ANY(:ids) AND accounts.balance_cents <> coalesce(moved.cents, 0)
"""

_AVAILABLE: Final = """
    SELECT accounts.wallet_id, 'available holds ' || balance_cents || ' cents, its last transfer left '
           || coalesce(last.cents, 0) AS why
    FROM accounts LEFT JOIN LATERAL (
        SELECT available_after_cents AS cents FROM transfers
        WHERE transfers.wallet_id = accounts.wallet_id ORDER BY position DESC LIMIT 1
    ) AS last ON true
    WHERE accounts.wallet_id = ANY(:ids) AND kind = 'available' AND balance_cents <> coalesce(last.cents, 0)
"""

_IN_TRANSIT: Final = """
    SELECT accounts.wallet_id, balance_cents || ' cents are in transit, open payouts have reserved '
           || coalesce(open.cents, 0) AS why
    FROM accounts LEFT JOIN LATERAL (
        SELECT sum(amount_cents) AS cents FROM payouts
        WHERE payouts.wallet_id = accounts.wallet_id AND status IN ('validated', 'queued', 'processing') AND reserved
    ) AS open ON true
    WHERE accounts.wallet_id = ANY(:ids) AND kind = 'in_transit' AND balance_cents <> coalesce(open.cents, 0)
"""

_PENDING: Final = """
    SELECT accounts.wallet_id, balance_cents || ' cents are pending funding, top-ups await '
           || coalesce(sum(amount_cents), 0) AS why
    FROM accounts LEFT JOIN topups ON topups.wallet_id = accounts.wallet_id AND topups.status = 'pending'
    WHERE accounts.wallet_id = ANY(:ids) AND kind = 'pending_funding'
    GROUP BY accounts.wallet_id, balance_cents HAVING balance_cents <> coalesce(sum(amount_cents), 0)
"""

_STATEMENT: Final = """
    WITH lately AS MATERIALIZED (
        SELECT wallet_id, min(position) AS first FROM transfers
        WHERE id >= :since_id AND wallet_id = ANY(:ids) GROUP BY wallet_id
    ), begun AS MATERIALIZED (  -- with the line before the first one that is looked at
        SELECT wallet_id, coalesce((
            SELECT max(position) FROM transfers
            WHERE transfers.wallet_id = lately.wallet_id AND position < lately.first), first) AS first
        FROM lately
    ), lines AS (
        SELECT transfers.wallet_id, position, available_after_cents, lag(available_after_cents) OVER wallet
               + CASE 'available' WHEN from_account THEN -amount_cents WHEN to_account THEN amount_cents ELSE 0 END
               AS due_cents
        FROM begun JOIN transfers ON transfers.wallet_id = begun.wallet_id AND position >= begun.first
        WINDOW wallet AS (PARTITION BY transfers.wallet_id ORDER BY position)
    )
    SELECT DISTINCT ON (wallet_id) wallet_id, 'transfer ' || position || ' leaves ' || available_after_cents
           || ' cents available, by the one before it should be ' || due_cents AS why
    FROM lines WHERE due_cents <> available_after_cents ORDER BY wallet_id, position
"""

BALANCE_CHECKS: Final = tuple(sa.text(text) for text in (_UNBALANCED, _AVAILABLE, _IN_TRANSIT, _PENDING))
TRANSFER_SUMS_CHECK: Final = sa.text(_TRANSFERS)
STATEMENT_CHECK: Final = sa.text(_STATEMENT)


def _breaks(connection: sa.Connection, portion: KeySlice) -> Iterator[tuple[uuid.UUID | None, str]]:
    ids = {"ids": list(portion.keys)}
    since_id = first_id_at(portion.since) if portion.since else uuid.UUID(int=0)
    for statement in BALANCE_CHECKS if portion.since else (*BALANCE_CHECKS, TRANSFER_SUMS_CHECK):
        yield from _rows(connection.execute(statement, ids))
    yield from _rows(connection.execute(STATEMENT_CHECK, ids | {"since_id": since_id}))


def _rows(rows: Iterable[sa.Row[tuple[object, ...]]]) -> Iterator[tuple[uuid.UUID | None, str]]:
    for row, _ in zip(rows, range(SLICE_VIOLATIONS_MAX), strict=False):
        yield row.wallet_id, row.why


INVARIANT: Final = Invariant(
    "accounts",
    "The accounts of each wallet sum to zero, and each equals its transfers",
    WALLETS,
    _breaks,
)
