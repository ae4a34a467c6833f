"""Posting of transfers between the accounts of wallets."""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

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

TRANSFER_ACCOUNTS: Final[dict[TransferKind, tuple[AccountKind, AccountKind]]] = {
    K.RESERVE: (A.AVAILABLE, A.IN_TRANSIT),
    K.SETTLE: (A.IN_TRANSIT, A.EXTERNAL),
    K.FEE: (A.IN_TRANSIT, A.FEES),
    K.RELEASE: (A.IN_TRANSIT, A.AVAILABLE),
    K.RETURN: (A.EXTERNAL, A.AVAILABLE),
    K.TOPUP: (A.EXTERNAL, A.PENDING_FUNDING),
    K.TOPUP_SETTLE: (A.PENDING_FUNDING, A.AVAILABLE),
    K.TOPUP_FAIL: (A.PENDING_FUNDING, A.EXTERNAL),
}
"""The debited and the credited account of each kind of transfer."""


class NewTransfer(NamedTuple):
    """A transfer to post."""

    wallet_id: uuid.UUID
    kind: TransferKind
    amount_cents: int
    payout_id: uuid.UUID | None = None
    attempt: int | None = None
    topup_id: uuid.UUID | None = None
    id: uuid.UUID | None = None
    """Generated if None."""


# Inserts accounts with a balance of zero. Locks nothing else.
_INSERT_ACCOUNTS: Final = sa.text(
    "INSERT INTO accounts (wallet_id, kind) SELECT :wallet_id, unnest(CAST(:kinds AS text[]))"
)

# Return available balances. The first locks nothing; the others lock the accounts in wallet id order.
_AVAILABLE = """
    SELECT wallet_id, balance_cents FROM accounts
    WHERE wallet_id = ANY(:wallet_ids) AND kind = 'available' ORDER BY wallet_id
"""
_READ_AVAILABLE: Final = sa.text(_AVAILABLE)
_LOCK_AVAILABLE: Final = sa.text(f"{_AVAILABLE} FOR UPDATE")
_LOCK_AVAILABLE_SKIP: Final = sa.text(f"{_AVAILABLE} FOR UPDATE SKIP LOCKED")


def open_accounts(connection: sa.Connection, wallet_id: uuid.UUID) -> None:
    """Open the five accounts of a new wallet."""
    kinds = [kind.value for kind in AccountKind]
    connection.execute(_INSERT_ACCOUNTS, {"wallet_id": wallet_id, "kinds": kinds})


def lock_wallets(
    connection: sa.Connection, wallet_ids: Collection[uuid.UUID], *, skip_locked: bool = False
) -> dict[uuid.UUID, int]:
    """Lock the wallets' `available` accounts, and return their balances in cents.

    Every transaction that spends from a wallet, or must be serialized with one that does, takes this lock. With
    `skip_locked`, wallets that another transaction has locked are left out.
    """
    [available] = run_queries(connection, lock_wallets_query(wallet_ids, skip_locked=skip_locked))
    return available  # type: ignore[no-any-return]


def lock_wallets_query(wallet_ids: Collection[uuid.UUID], *, skip_locked: bool = False) -> Query[dict[uuid.UUID, int]]:
    """Query that performs `lock_wallets`."""
    statement = _LOCK_AVAILABLE_SKIP if skip_locked else _LOCK_AVAILABLE
    return available_balances_query(wallet_ids)._replace(statement=statement)


def available_balances_query(wallet_ids: Collection[uuid.UUID]) -> Query[dict[uuid.UUID, int]]:
    """Query for available balances in cents, without a lock."""
    return Query(_READ_AVAILABLE, {"wallet_ids": sorted(set(wallet_ids))}, dict)


# Inserts transfers in order, each with the available balance after it, and updates balances and statement counts.
# Returns the wallets whose available balance fell below their threshold. Updates, and so locks, accounts and
# list_counts; the caller has the wallets locked.
_POST_TRANSFERS: Final = sa.text("""
    WITH posted AS (
        INSERT INTO transfers (id, wallet_id, from_account, to_account, amount_cents, kind,
                               payout_id, attempt, topup_id, available_after_cents, created_at)
        SELECT transfer.id, wallet_id, from_account, to_account, amount_cents, transfer.kind, payout_id, attempt,
               topup_id, balance_cents + available_moved_cents, :now
        FROM ROWS FROM (json_to_recordset(CAST(:transfers AS json)) AS (
            id uuid, wallet_id uuid, from_account text, to_account text, amount_cents bigint, kind text,
            payout_id uuid, attempt int, topup_id uuid, available_moved_cents bigint)) WITH ORDINALITY AS transfer (
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


def post_transfers(connection: sa.Connection, transfers: Iterable[NewTransfer], now: datetime) -> None:
    """Post transfers in order, update the balances, and write an event for each balance that falls below its threshold.

    Raises:
        sqlalchemy.exc.IntegrityError: a balance would turn negative, or the attempt already has a transfer of this
            kind.

    """
    to_post: Sequence[NewTransfer] = list(transfers)
    if not to_post:
        return
    lock = lock_wallets_query({transfer.wallet_id for transfer in to_post})
    _, low_balances = run_queries(connection, lock, post_transfers_query(to_post, now))
    write_low_balance_events(connection, low_balances, now)


class _InsertedTransfer(msgspec.Struct):
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
    """The change of the available balance by this transfer and those before it."""


def post_transfers_query(transfers: Sequence[NewTransfer], now: datetime) -> Query[Sequence[Any]]:
    """Query that performs `post_transfers` under the wallets' lock; its result is for `write_low_balance_events`.

    It may be built before the lock is taken: the database computes the balances.
    """
    moved: defaultdict[uuid.UUID, int] = defaultdict(int)
    changes: defaultdict[tuple[uuid.UUID, AccountKind], int] = defaultdict(int)
    rows = []
    for transfer in transfers:
        source, target = TRANSFER_ACCOUNTS[transfer.kind]
        changes[transfer.wallet_id, source] -= transfer.amount_cents
        changes[transfer.wallet_id, target] += transfer.amount_cents
        if source is A.AVAILABLE:
            moved[transfer.wallet_id] -= transfer.amount_cents
        elif target is A.AVAILABLE:
            moved[transfer.wallet_id] += transfer.amount_cents
        rows.append(
            _InsertedTransfer(
                id=transfer.id or new_id(),
                wallet_id=transfer.wallet_id,
                from_account=source,
                to_account=target,
                amount_cents=transfer.amount_cents,
                kind=transfer.kind,
                payout_id=transfer.payout_id,
                attempt=transfer.attempt,
                topup_id=transfer.topup_id,
                available_moved_cents=moved[transfer.wallet_id],
            )
        )
    changed = [
        {"wallet_id": wallet_id, "kind": kind, "cents": cents} for (wallet_id, kind), cents in changes.items() if cents
    ]
    values = {"now": now, "transfers": encode_rows(rows), "changes": encode_rows(changed)}
    return Query(_POST_TRANSFERS, values, list)


def write_low_balance_events(connection: sa.Connection, low_balances: Sequence[Any], now: datetime) -> None:
    """Write `balance.low` for the wallets that a posting returned."""
    events = [
        Event(
            wallet_id,
            EventType.BALANCE_LOW.value,
            None,
            0,
            {"available": balance_cents, "threshold": low_balance_cents, "currency": currency},
        )
        for wallet_id, balance_cents, low_balance_cents, currency in low_balances
    ]
    customer_events.write_events(connection, events, now)
