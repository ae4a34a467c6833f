"""Funding: top-ups of a wallet, asked of the provider and credited when it confirms them."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
import structlog

from shared import ledger
from shared.ids import TRANSACTION, new_id, show
from shared.models.ledger import TransferKind
from shared.paystream.outcomes import Accepted, Outcome, Rejected, Throttled, Unknown, backoff_seconds
from shared.paystream.wire import (
    BalanceTransaction,
    Call,
    TopupAnswer,
    UnexpectedAnswer,
    credits_call,
    read,
    topup_call,
)

logger = structlog.get_logger(__name__)

METHODS: Final = ("bank_transfer", "rtp")
GRANT: Final = "sandbox_grant"
SETTLEMENT_FIRST_SECONDS: Final = {"rtp": 0.3, "bank_transfer": 2.0}
SETTLEMENT_MOST_SECONDS: Final = 1800.0
"""How soon, and how seldom at the last, the provider is asked whether a top-up has settled."""

CREDITS_READ: Final = 100
"""How many of the provider's latest credits are read to find a top-up among them."""


class TopupRow(NamedTuple):
    """A top-up just asked for, and what the wallet holds with it."""

    id: uuid.UUID
    amount_cents: int
    balance_cents: int
    """Available plus pending funding, this top-up included."""
    status: str
    created_at: datetime


def request(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    amount_cents: int,
    method: str,
    description: str,
    now: datetime,
    *,
    grace: timedelta,
) -> TopupRow:
    """Writes a top-up down as pending; a worker then asks the provider for it."""
    topup_id = _insert(connection, wallet_id, amount_cents, method, description, now, due=now + grace)
    held = ledger.balances(connection, wallet_id)
    return TopupRow(topup_id, amount_cents, held.available_cents + held.pending_funding_cents, "pending", now)


def grant(connection: sa.Connection, wallet_id: uuid.UUID, amount_cents: int, now: datetime) -> None:
    """Gives a new sandbox wallet its play money, settled at once; the provider has no part in it."""
    topup_id = _insert(connection, wallet_id, amount_cents, GRANT, "Sandbox opening balance", now, due=None)
    _settle(connection, topup_id, wallet_id, amount_cents, now)


def _insert(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    amount_cents: int,
    method: str,
    description: str,
    now: datetime,
    due: datetime | None,
) -> uuid.UUID:
    topup_id = new_id()
    connection.execute(
        sa.text("""
            INSERT INTO topups (id, wallet_id, amount_cents, method, description, status, created_at, next_action_at)
            VALUES (:id, :wallet_id, :amount, :method, :description, 'pending', :now, :due)
        """),
        {
            "id": topup_id,
            "wallet_id": wallet_id,
            "amount": amount_cents,
            "method": method,
            "description": description,
            "now": now,
            "due": due,
        },
    )
    entry = ledger.Entry(wallet_id, TransferKind.TOPUP, amount_cents, topup_id=topup_id, id=topup_id)
    ledger.post(connection, [entry], now)
    return topup_id


def _settle(
    connection: sa.Connection, topup_id: uuid.UUID, wallet_id: uuid.UUID, amount_cents: int, now: datetime
) -> None:
    connection.execute(
        sa.text("""
            UPDATE topups SET status = 'settled', settled_at = :now, next_action_at = NULL, last_error = NULL,
                lease_token = NULL, lease_expires_at = NULL WHERE id = :id
        """),
        {"id": topup_id, "now": now},
    )
    entry = ledger.Entry(wallet_id, TransferKind.TOPUP_SETTLE, amount_cents, topup_id=topup_id)
    ledger.post(connection, [entry], now)


class HeldTopup(NamedTuple):
    """A top-up that this worker holds."""

    id: uuid.UUID
    wallet_id: uuid.UUID
    mode: str
    amount_cents: int
    method: str
    provider_id: str | None
    attempts: int
    token: uuid.UUID

    def call(self) -> Call:
        """The next question to the provider: to make it, or whether it has settled."""
        if self.provider_id is None:
            return topup_call(self.mode, self.id, self.amount_cents, self.method)
        return credits_call(self.mode, CREDITS_READ)


def claim(connection: sa.Connection, topup_ids: Sequence[uuid.UUID], *, lease_seconds: float) -> list[HeldTopup]:
    """Takes the top-ups that are pending and that nobody holds."""
    rows = connection.execute(
        sa.text("""
            WITH free AS (
                SELECT id FROM topups WHERE id = ANY(:ids) AND status = 'pending'
                      AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
                ORDER BY id FOR UPDATE SKIP LOCKED
            )
            UPDATE topups SET lease_token = :token, attempts = attempts + 1,
                lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
                next_action_at = clock_timestamp() + make_interval(secs => :lease_seconds)
            FROM free, wallets WHERE topups.id = free.id AND wallets.id = topups.wallet_id
            RETURNING topups.id, wallet_id, wallets.mode, amount_cents, method, provider_id, attempts, lease_token
        """),
        {"ids": list(topup_ids), "token": uuid.uuid4(), "lease_seconds": lease_seconds},
    )
    return [HeldTopup(*row) for row in rows]


def record(connection: sa.Connection, held: HeldTopup, outcome: Outcome, now: datetime) -> None:
    """Records what the provider said of a top-up; nothing, if the lease is no longer ours."""
    mine = connection.scalar(
        sa.text("SELECT true FROM topups WHERE id = :id AND lease_token = :token AND status = 'pending' FOR UPDATE"),
        {"id": held.id, "token": held.token},
    )
    if not mine:
        logger.warning("topup.fenced", topup=show(TRANSACTION, held.id))
        return
    if isinstance(outcome, Rejected) and held.provider_id is None:
        _fail(connection, held, f"{outcome.code}: {outcome.message}", now)
        return
    changes: dict[str, Any] = {"provider_id": None, "error": None, "attempts": held.attempts}
    first_seconds = SETTLEMENT_FIRST_SECONDS.get(held.method, 1.0)
    wait_seconds = backoff_seconds(held.attempts, first_seconds=first_seconds, most_seconds=SETTLEMENT_MOST_SECONDS)
    if isinstance(outcome, Accepted):
        try:
            if held.provider_id is None:
                changes |= {"provider_id": read(outcome.data, TopupAnswer).id, "attempts": 0}
                wait_seconds = first_seconds
            elif _credited(held, outcome.data):
                _settle(connection, held.id, held.wallet_id, held.amount_cents, now)
                return
        except UnexpectedAnswer as error:
            changes["error"] = str(error)
    elif isinstance(outcome, Throttled):
        wait_seconds = outcome.retry_after_seconds
    else:
        changes["error"] = outcome.reason if isinstance(outcome, Unknown) else f"{outcome.code}: {outcome.message}"
    connection.execute(
        sa.text("""
            UPDATE topups SET lease_token = NULL, lease_expires_at = NULL, attempts = :attempts, last_error = :error,
                next_action_at = :due, provider_id = coalesce(provider_id, :provider_id) WHERE id = :id
        """),
        changes | {"id": held.id, "due": now + timedelta(seconds=wait_seconds)},
    )


def _credited(held: HeldTopup, data: object) -> bool:
    """Whether a credit for this top-up, of its amount, is among the provider's."""
    for line in read(data, list[BalanceTransaction]):
        if line.reference == held.provider_id and line.type == "credit":
            if line.amount != held.amount_cents:
                raise UnexpectedAnswer(f"Paystream credited {line.amount} cents instead of {held.amount_cents}")
            return True
    return False


def _fail(connection: sa.Connection, held: HeldTopup, why: str, now: datetime) -> None:
    connection.execute(
        sa.text("""
            UPDATE topups SET status = 'failed', next_action_at = NULL, last_error = :why,
                lease_token = NULL, lease_expires_at = NULL WHERE id = :id
        """),
        {"id": held.id, "why": why},
    )
    entry = ledger.Entry(held.wallet_id, TransferKind.TOPUP_FAIL, held.amount_cents, topup_id=held.id)
    ledger.post(connection, [entry], now)
    logger.warning("topup.refused", topup=show(TRANSACTION, held.id), why=why)
