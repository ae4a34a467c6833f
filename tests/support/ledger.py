"""Checks of the ledger that read its two tables and recompute every sum, over a read-only connection."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"  # TypeID's, after Crockford


def uuid_of(public_id: str) -> uuid.UUID:
    """Return the UUID in an id like `pay_01h…` (the TypeID convention)."""
    number = 0
    for letter in public_id.rpartition("_")[2]:
        number = number * 32 + _BASE32.index(letter)
    return uuid.UUID(int=number)


@contextmanager
def _reader(database_url: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(database_url, options="-c default_transaction_read_only=on") as connection:
        yield connection


def assert_ledger_consistent(database_url: str) -> None:
    """Assert that accounts of a wallet sum to zero, balances equal transfers, and only `external` is negative.

    One statement is one snapshot: the system may keep working meanwhile.
    """
    with _reader(database_url) as connection:
        rows = connection.execute(
            """
            select wallet_id, kind, balance_cents,
                   coalesce((select sum(amount_cents) from transfers
                              where wallet_id = account.wallet_id and to_account = account.kind), 0)
                 - coalesce((select sum(amount_cents) from transfers
                              where wallet_id = account.wallet_id and from_account = account.kind), 0)
              from accounts account
            """
        ).fetchall()
        not_positive = connection.execute("select count(*) from transfers where amount_cents <= 0").fetchone()
    assert rows
    wallets: dict[uuid.UUID, int] = {}
    for wallet_id, kind, balance_cents, moved_cents in rows:
        assert balance_cents == moved_cents, f"{kind} of {wallet_id} is {balance_cents}, its transfers {moved_cents}"
        assert balance_cents >= 0 or kind == "external", f"{kind} of {wallet_id} is {balance_cents}"
        wallets[wallet_id] = wallets.get(wallet_id, 0) + balance_cents
    assert set(wallets.values()) == {0}, wallets
    assert not_positive == (0,)


def transfers_of(database_url: str, payout_id: str) -> list[tuple[str, str, int]]:
    """Return (from, to, cents) of a payout's transfers in order."""
    with _reader(database_url) as connection:
        return connection.execute(
            "select from_account, to_account, amount_cents from transfers where payout_id = %s order by position",
            [uuid_of(payout_id)],
        ).fetchall()


def balances_of(database_url: str, mode: str) -> dict[str, int]:
    """Return the account balances in cents of the first organization's wallet of a mode."""
    with _reader(database_url) as connection:
        return dict(
            connection.execute(
                "select kind, balance_cents from accounts join wallets on wallets.id = wallet_id where mode = %s"
                " and organization_id = (select id from organizations order by created_at limit 1)",
                [mode],
            ).fetchall()
        )


def transfers_of_completed(amount_cents: int, fee_cents: int) -> list[tuple[str, str, int]]:
    """The transfers of a completed payout; the last two may be in either order."""
    return [
        ("available", "in_transit", amount_cents),
        ("in_transit", "external", amount_cents - fee_cents),
        ("in_transit", "fees", fee_cents),
    ]
