"""Posting: set-based transfers between the accounts of wallets, with the balances they leave.

Lock order, for everybody: rows of the domain first, accounts last and by wallet id. So two postings can't deadlock.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from shared.ids import new_id
from shared.models.ledger import AccountKind, TransferKind

A = AccountKind
K = TransferKind

ROUTES: dict[TransferKind, tuple[AccountKind, AccountKind]] = {
    K.RESERVE: (A.AVAILABLE, A.IN_TRANSIT),
    K.SETTLE: (A.IN_TRANSIT, A.EXTERNAL),
    K.FEE: (A.IN_TRANSIT, A.FEES),
    K.RELEASE: (A.IN_TRANSIT, A.AVAILABLE),
    K.RETURN: (A.EXTERNAL, A.AVAILABLE),
    K.TOPUP: (A.EXTERNAL, A.PENDING_FUNDING),
    K.TOPUP_SETTLE: (A.PENDING_FUNDING, A.AVAILABLE),
    K.TOPUP_FAIL: (A.PENDING_FUNDING, A.EXTERNAL),
}
"""From which account to which a transfer of each kind goes: the only ways that money moves."""


class Entry(NamedTuple):
    """A transfer to make."""

    wallet_id: uuid.UUID
    kind: TransferKind
    amount_cents: int
    payout_id: uuid.UUID | None = None
    attempt: int | None = None
    topup_id: uuid.UUID | None = None
    id: uuid.UUID | None = None
    """Made up where it is not given."""


def open_accounts(connection: sa.Connection, wallet_id: uuid.UUID) -> None:
    """Opens the five accounts of a new wallet, empty."""
    connection.execute(
        sa.text("INSERT INTO accounts (wallet_id, kind) SELECT :wallet_id, unnest(CAST(:kinds AS text[]))"),
        {"wallet_id": wallet_id, "kinds": [kind.value for kind in AccountKind]},
    )


def lock(connection: sa.Connection, wallet_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Locks the wallets' `available` accounts until the end of the transaction.

    Returns the available balance of each, in cents. Whoever spends or serializes on a wallet takes this lock.
    """
    rows = connection.execute(
        sa.text(
            "SELECT wallet_id, balance_cents FROM accounts "
            "WHERE wallet_id = ANY(:wallet_ids) AND kind = 'available' ORDER BY wallet_id FOR UPDATE"
        ),
        {"wallet_ids": sorted(set(wallet_ids))},
    )
    return {row.wallet_id: row.balance_cents for row in rows}


_POST = sa.text("""
    WITH posted AS (
        INSERT INTO transfers (id, wallet_id, from_account, to_account, amount_cents, kind,
                               payout_id, attempt, topup_id, available_after_cents, created_at)
        SELECT entry.*, :now FROM unnest(
            CAST(:ids AS uuid[]), CAST(:wallets AS uuid[]), CAST(:froms AS text[]), CAST(:tos AS text[]),
            CAST(:amounts AS bigint[]), CAST(:kinds AS text[]), CAST(:payouts AS uuid[]),
            CAST(:attempts AS int[]), CAST(:topups AS uuid[]), CAST(:afters AS bigint[])) AS entry
    )
    UPDATE accounts SET balance_cents = accounts.balance_cents + change.cents
    FROM unnest(CAST(:change_wallets AS uuid[]), CAST(:change_kinds AS text[]), CAST(:change_cents AS bigint[]))
         AS change (wallet_id, kind, cents)
    WHERE accounts.wallet_id = change.wallet_id AND accounts.kind = change.kind
""")


def post(
    connection: sa.Connection,
    entries: Iterable[Entry],
    now: datetime,
    available: Mapping[uuid.UUID, int] | None = None,
) -> None:
    """Makes the transfers, in order, and moves the balances: all of them or, on an error, none.

    `available` is what `lock` returned, from a caller who holds that lock and has posted nothing since.

    Raises:
        sqlalchemy.exc.IntegrityError: a balance would turn negative, or a payout's attempt would be moved
            a second time in the same way. The transaction can't be continued.
    """
    listed: Sequence[Entry] = list(entries)
    if not listed:
        return
    if available is None:
        available = lock(connection, {entry.wallet_id for entry in listed})
    left = dict(available)
    changes: defaultdict[tuple[uuid.UUID, AccountKind], int] = defaultdict(int)
    afters: list[int] = []
    for entry in listed:
        source, target = ROUTES[entry.kind]
        changes[entry.wallet_id, source] -= entry.amount_cents
        changes[entry.wallet_id, target] += entry.amount_cents
        if source is A.AVAILABLE:
            left[entry.wallet_id] -= entry.amount_cents
        elif target is A.AVAILABLE:
            left[entry.wallet_id] += entry.amount_cents
        afters.append(left[entry.wallet_id])
    moved = [key for key, cents in changes.items() if cents]
    connection.execute(
        _POST,
        {
            "now": now,
            "ids": [entry.id or new_id() for entry in listed],
            "wallets": [entry.wallet_id for entry in listed],
            "froms": [ROUTES[entry.kind][0].value for entry in listed],
            "tos": [ROUTES[entry.kind][1].value for entry in listed],
            "amounts": [entry.amount_cents for entry in listed],
            "kinds": [entry.kind.value for entry in listed],
            "payouts": [entry.payout_id for entry in listed],
            "attempts": [entry.attempt for entry in listed],
            "topups": [entry.topup_id for entry in listed],
            "afters": afters,
            "change_wallets": [wallet_id for wallet_id, _ in moved],
            "change_kinds": [kind.value for _, kind in moved],
            "change_cents": [changes[key] for key in moved],
        },
    )
