"""Posting: set-based transfers between the accounts of wallets, with the balances they leave.

Lock order, for everybody: rows of the domain first, accounts last and by wallet id. So two postings can't deadlock.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from shared.events import customer_events
from shared.events.customer_events import Event, EventType
from shared.platform.database import encode_rows
from shared.platform.ids import new_id
from shared.platform.pipelined_queries import Query, run_queries
from shared.schema.ledger import AccountKind, TransferKind

A = AccountKind
K = TransferKind

TRANSFER_ACCOUNTS: dict[TransferKind, tuple[AccountKind, AccountKind]] = {
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


class NewTransfer(NamedTuple):
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


_AVAILABLE = """
    SELECT wallet_id, balance_cents FROM accounts
    WHERE wallet_id = ANY(:wallet_ids) AND kind = 'available' ORDER BY wallet_id
"""
_READ = sa.text(_AVAILABLE)
_LOCK = sa.text(f"{_AVAILABLE} FOR UPDATE")
_LOCK_FREE = sa.text(f"{_AVAILABLE} FOR UPDATE SKIP LOCKED")


def lock_wallets(
    connection: sa.Connection, wallet_ids: Collection[uuid.UUID], *, skip_locked: bool = False
) -> dict[uuid.UUID, int]:
    """Locks the wallets' `available` accounts until the end of the transaction.

    Returns the available balance of each, in cents. Whoever spends or serializes on a wallet takes this lock. With
    `skip_locked`, those that somebody else holds are left out instead of waited for.
    """
    [available] = run_queries(connection, lock_wallets_query(wallet_ids, skip_locked=skip_locked))
    return available  # type: ignore[no-any-return]


def lock_wallets_query(wallet_ids: Collection[uuid.UUID], *, skip_locked: bool = False) -> Query[dict[uuid.UUID, int]]:
    """Locks the wallets' `available` accounts once it is asked; see `lock_wallets`."""
    return available_balances_query(wallet_ids)._replace(statement=_LOCK_FREE if skip_locked else _LOCK)


def available_balances_query(wallet_ids: Collection[uuid.UUID]) -> Query[dict[uuid.UUID, int]]:
    """Reads the available balances once it is asked, in cents, and locks nothing: they may change at once."""
    return Query(_READ, {"wallet_ids": sorted(set(wallet_ids))}, dict)


_POST = sa.text("""
    WITH posted AS (
        INSERT INTO transfers (id, wallet_id, from_account, to_account, amount_cents, kind,
                               payout_id, attempt, topup_id, available_after_cents, created_at)
        SELECT entry.id, wallet_id, from_account, to_account, amount_cents, entry.kind, payout_id, attempt, topup_id,
               balance_cents + available_moved_cents, :now
        FROM ROWS FROM (json_to_recordset(CAST(:entries AS json)) AS (
            id uuid, wallet_id uuid, from_account text, to_account text, amount_cents bigint, kind text,
            payout_id uuid, attempt int, topup_id uuid, available_moved_cents bigint)) WITH ORDINALITY AS entry (
            id, wallet_id, from_account, to_account, amount_cents, kind, payout_id, attempt, topup_id,
            available_moved_cents, place)
        JOIN accounts USING (wallet_id) WHERE accounts.kind = 'available' ORDER BY place
        RETURNING wallet_id, kind
    ), counted AS (
        UPDATE list_counts SET count = list_counts.count + new.count
        FROM (SELECT wallet_id, 'transfers:' || kind AS name, count(*) FROM posted GROUP BY wallet_id, kind) AS new
        WHERE list_counts.wallet_id = new.wallet_id AND list_counts.name = new.name
    ), moved AS (
        UPDATE accounts SET balance_cents = accounts.balance_cents + change.cents
        FROM json_to_recordset(CAST(:changes AS json)) AS change (wallet_id uuid, kind text, cents bigint)
        WHERE accounts.wallet_id = change.wallet_id AND accounts.kind = change.kind
        RETURNING accounts.wallet_id, accounts.kind, balance_cents, cents
    )
    SELECT wallet_id, balance_cents, low_balance_cents, currency FROM moved JOIN wallets ON wallets.id = wallet_id
    WHERE kind = 'available' AND balance_cents < low_balance_cents AND balance_cents - cents >= low_balance_cents
""")
"""Returns the wallets whose available balance has just fallen below what they call low."""


def post_transfers(connection: sa.Connection, entries: Iterable[NewTransfer], now: datetime) -> None:
    """Makes the transfers, in order, and moves the balances: all of them or, on an error, none. Where the available
    balance falls below the wallet's threshold by it the customer is told; not again before it was above.

    Raises:
        sqlalchemy.exc.IntegrityError: a balance would turn negative, or a payout's attempt would be moved
            a second time in the same way. The transaction can't be continued.

    """
    listed: Sequence[NewTransfer] = list(entries)
    if not listed:
        return
    _, fallen = run_queries(
        connection, lock_wallets_query({entry.wallet_id for entry in listed}), post_transfers_query(listed, now)
    )
    write_low_balance_events(connection, fallen, now)


class _Row(msgspec.Struct):
    """A transfer as it is sent to the database."""

    id: uuid.UUID
    wallet_id: uuid.UUID
    from_account: AccountKind
    to_account: AccountKind
    amount_cents: int
    kind: TransferKind
    payout_id: uuid.UUID | None
    attempt: int | None
    topup_id: uuid.UUID | None
    available_moved_cents: int
    """What this transfer and those before it do to the available balance."""


def post_transfers_query(entries: Sequence[NewTransfer], now: datetime) -> Query[Sequence[Any]]:
    """Makes the transfers once it is asked, under the wallets' lock; see `post_transfers`. What it returns is for
    `write_low_balance_events`.

    It can be made before the lock is taken: the balances that the transfers leave are reckoned where they are written.
    """
    moved: defaultdict[uuid.UUID, int] = defaultdict(int)
    changes: defaultdict[tuple[uuid.UUID, AccountKind], int] = defaultdict(int)
    rows = []
    for entry in entries:
        source, target = TRANSFER_ACCOUNTS[entry.kind]
        changes[entry.wallet_id, source] -= entry.amount_cents
        changes[entry.wallet_id, target] += entry.amount_cents
        if source is A.AVAILABLE:
            moved[entry.wallet_id] -= entry.amount_cents
        elif target is A.AVAILABLE:
            moved[entry.wallet_id] += entry.amount_cents
        rows.append(
            _Row(
                id=entry.id or new_id(),
                wallet_id=entry.wallet_id,
                from_account=source,
                to_account=target,
                amount_cents=entry.amount_cents,
                kind=entry.kind,
                payout_id=entry.payout_id,
                attempt=entry.attempt,
                topup_id=entry.topup_id,
                available_moved_cents=moved[entry.wallet_id],
            )
        )
    made = [
        {"wallet_id": wallet_id, "kind": kind, "cents": cents} for (wallet_id, kind), cents in changes.items() if cents
    ]
    return Query(_POST, {"now": now, "entries": encode_rows(rows), "changes": encode_rows(made)}, list)


def write_low_balance_events(connection: sa.Connection, fallen: Sequence[Any], now: datetime) -> None:
    """Tells the customers whose balance has fallen below what they call low by what was posted."""
    lows = [
        Event(
            wallet_id,
            EventType.BALANCE_LOW.value,
            None,
            0,
            {"available": balance_cents, "threshold": low_balance_cents, "currency": currency},
        )
        for wallet_id, balance_cents, low_balance_cents, currency in fallen
    ]
    customer_events.write_events(connection, lows, now)
