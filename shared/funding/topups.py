"""Funding: top-ups of a wallet, asked of the provider and credited when it confirms them."""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
import structlog

from shared import ledger
from shared.events import customer_events
from shared.events.customer_events import Event, EventType
from shared.holds.reconcile_only import OUTBOUND_ALLOWED
from shared.platform.clock import format_rfc3339
from shared.platform.ids import TRANSACTION, new_id, public_id
from shared.provider.client import PaystreamClient
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Throttled, Unknown, backoff_seconds
from shared.provider.wire import (
    BalanceTransaction,
    TopupResource,
    UnexpectedResponse,
    decode_resource,
    list_credits_call,
    request_topup_call,
)
from shared.schema.ledger import TransferKind

logger = structlog.get_logger(__name__)

TOPUP_METHODS: Final = ("bank_transfer", "rtp")
SANDBOX_GRANT_METHOD: Final = "sandbox_grant"
SETTLEMENT_POLL_FIRST_SECONDS: Final = {"rtp": 0.3, "bank_transfer": 2.0}
SETTLEMENT_POLL_MAX_SECONDS: Final = 1800.0
"""How soon, and how seldom at the last, the provider is asked whether a top-up has settled."""

KEY_EXPIRY_MARGIN_SECONDS: Final = 600.0
"""A key is not re-sent this close to the end of its lifetime: the provider's clock is not ours."""
CREDIT_LOOKBACK_MARGIN: Final = timedelta(hours=1)
"""How much before our asking the provider's credits are read back to: its clock is not ours."""
CREDIT_PAGES_MAX: Final = 200


class RequestedTopup(NamedTuple):
    """A top-up just asked for, and what the wallet holds with it."""

    id: uuid.UUID
    amount_cents: int
    balance_cents: int
    """Available plus pending funding, this top-up included."""
    status: str
    created_at: datetime


def request_topup(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    amount_cents: int,
    method: str,
    description: str,
    now: datetime,
    *,
    grace: timedelta,
) -> RequestedTopup:
    """Writes a top-up down as pending; a worker then asks the provider for it."""
    topup_id = _insert(connection, wallet_id, amount_cents, method, description, now, due=now + grace)
    held = ledger.load_balances(connection, wallet_id)
    return RequestedTopup(topup_id, amount_cents, held.available_cents + held.pending_funding_cents, "pending", now)


def grant_sandbox_funds(connection: sa.Connection, wallet_id: uuid.UUID, amount_cents: int, now: datetime) -> None:
    """Gives a new sandbox wallet its play money, settled at once; the provider has no part in it."""
    topup_id = _insert(
        connection, wallet_id, amount_cents, SANDBOX_GRANT_METHOD, "Sandbox opening balance", now, due=None
    )
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
    entry = ledger.NewTransfer(wallet_id, TransferKind.TOPUP, amount_cents, topup_id=topup_id, id=topup_id)
    ledger.post_transfers(connection, [entry], now)
    return topup_id


def _settle(
    connection: sa.Connection, topup_id: uuid.UUID, wallet_id: uuid.UUID, amount_cents: int, now: datetime
) -> None:
    row = connection.execute(
        sa.text("""
            UPDATE topups SET status = 'settled', settled_at = :now, next_action_at = NULL, last_error = NULL,
                lease_token = NULL, lease_expires_at = NULL WHERE id = :id RETURNING method, description, created_at
        """),
        {"id": topup_id, "now": now},
    ).one()
    entry = ledger.NewTransfer(wallet_id, TransferKind.TOPUP_SETTLE, amount_cents, topup_id=topup_id)
    ledger.post_transfers(connection, [entry], now)
    if row.method == SANDBOX_GRANT_METHOD:  # nobody asked for it
        return
    data = {
        "transactionId": public_id(TRANSACTION, topup_id),
        "amount": amount_cents,
        "status": "settled",
        "method": row.method,
        "description": row.description,
        "createdAt": format_rfc3339(row.created_at),
        "settledAt": format_rfc3339(now),
    }
    customer_events.write_events(connection, [Event(wallet_id, EventType.FUNDING_SETTLED.value, None, 0, data)], now)


class LeasedTopup(NamedTuple):
    """A top-up that this worker holds."""

    id: uuid.UUID
    wallet_id: uuid.UUID
    mode: str
    amount_cents: int
    method: str
    provider_id: str | None
    attempts: int
    token: uuid.UUID
    created_at: datetime
    key_may_have_expired: bool


def call_provider_for_topup(paystream: PaystreamClient, held: LeasedTopup) -> CallOutcome | None:
    """The next question to the provider: to make the top-up, or whether it has settled.

    None: its key may be forgotten, so asking again might debit the bank twice; a person has to look.
    """
    if held.provider_id is None:
        if held.key_may_have_expired:
            return None
        return paystream.call(request_topup_call(held.mode, held.id, held.amount_cents, held.method))
    call, since = list_credits_call(held.mode), held.created_at - CREDIT_LOOKBACK_MARGIN
    for _ in range(CREDIT_PAGES_MAX):
        outcome = paystream.call(call)
        if not isinstance(outcome, Accepted):
            return outcome
        try:
            lines = decode_resource(outcome.data, list[BalanceTransaction])
        except UnexpectedResponse as error:
            return Unknown(str(error))
        credit = next((line for line in lines if line.reference == held.provider_id and line.type == "credit"), None)
        if credit is not None:
            return Accepted(credit)
        if outcome.next_cursor is None or (lines and lines[-1].created_at < since):
            break
        call = call._replace(params={**(call.params or {}), "cursor": outcome.next_cursor})
    return Accepted(None)


def claim_topups(
    connection: sa.Connection, topup_ids: Sequence[uuid.UUID], *, lease_seconds: float, key_lifetime_seconds: float
) -> list[LeasedTopup]:
    """Takes the top-ups that are pending and that nobody holds; while no money may leave, only those that the provider
    has.
    """
    rows = connection.execute(
        sa.text(f"""
            WITH free AS (
                SELECT id FROM topups WHERE id = ANY(:ids) AND status = 'pending'
                      AND (lease_expires_at IS NULL OR lease_expires_at < clock_timestamp())
                      AND (provider_id IS NOT NULL OR {OUTBOUND_ALLOWED})
                ORDER BY id FOR UPDATE SKIP LOCKED
            )
            UPDATE topups SET lease_token = :token, attempts = attempts + 1,
                lease_expires_at = clock_timestamp() + make_interval(secs => :lease_seconds),
                next_action_at = clock_timestamp() + make_interval(secs => :lease_seconds),
                first_sent_at = coalesce(first_sent_at, clock_timestamp())
            FROM free, wallets WHERE topups.id = free.id AND wallets.id = topups.wallet_id
            RETURNING topups.id, wallet_id, wallets.mode, amount_cents, method, provider_id, attempts, lease_token,
                      topups.created_at, clock_timestamp() > first_sent_at + make_interval(secs => :safe_seconds)
        """),
        {
            "ids": list(topup_ids),
            "token": uuid.uuid4(),
            "lease_seconds": lease_seconds,
            "safe_seconds": key_lifetime_seconds - lease_seconds - KEY_EXPIRY_MARGIN_SECONDS,
        },
    )
    return [LeasedTopup(*row) for row in rows]


def record_topup_outcome(
    connection: sa.Connection, held: LeasedTopup, outcome: CallOutcome | None, now: datetime
) -> None:
    """Records what `call_provider_for_topup` brought back; nothing, if the lease is no longer ours."""
    mine = connection.scalar(
        sa.text("SELECT true FROM topups WHERE id = :id AND lease_token = :token AND status = 'pending' FOR UPDATE"),
        {"id": held.id, "token": held.token},
    )
    if not mine:
        logger.warning("topup.fenced", topup=public_id(TRANSACTION, held.id))
        return
    if outcome is None:
        _give_up(connection, held)
        return
    if isinstance(outcome, Rejected) and held.provider_id is None:
        _fail(connection, held, outcome, now)
        return
    changes: dict[str, Any] = {"provider_id": None, "error": None, "attempts": held.attempts, "unsent": False}
    first_seconds = SETTLEMENT_POLL_FIRST_SECONDS.get(held.method, 1.0)
    wait_seconds = backoff_seconds(held.attempts, first_seconds=first_seconds, max_seconds=SETTLEMENT_POLL_MAX_SECONDS)
    if isinstance(outcome, Accepted):
        try:
            if held.provider_id is None:
                changes |= {"provider_id": decode_resource(outcome.data, TopupResource).id, "attempts": 0}
                wait_seconds = first_seconds
            elif outcome.data is not None:
                if outcome.data.amount == held.amount_cents:
                    _settle(connection, held.id, held.wallet_id, held.amount_cents, now)
                    return
                changes["error"] = f"Paystream credited {outcome.data.amount} cents instead of {held.amount_cents}"
                logger.error("topup.mismatch", topup=public_id(TRANSACTION, held.id), why=changes["error"])
        except UnexpectedResponse as error:
            changes["error"] = str(error)
    elif isinstance(outcome, Throttled):
        wait_seconds = outcome.retry_after_seconds
        changes["unsent"] = held.attempts == 1 and held.provider_id is None
    else:
        changes["error"] = (
            f"{outcome.code}: {outcome.message}" if isinstance(outcome, Rejected) else outcome.explanation
        )
    connection.execute(
        sa.text("""
            UPDATE topups SET lease_token = NULL, lease_expires_at = NULL, last_error = :error,
                attempts = CASE WHEN :unsent THEN 0 ELSE :attempts END,
                first_sent_at = CASE WHEN :unsent THEN NULL ELSE first_sent_at END,
                next_action_at = :due, provider_id = coalesce(provider_id, :provider_id) WHERE id = :id
        """),
        changes | {"id": held.id, "due": now + timedelta(seconds=wait_seconds)},
    )


def _give_up(connection: sa.Connection, held: LeasedTopup) -> None:
    connection.execute(
        sa.text("""
            UPDATE topups SET next_action_at = NULL, lease_token = NULL, lease_expires_at = NULL,
                last_error = 'no answer within the lifetime of its key' WHERE id = :id
        """),
        {"id": held.id},
    )
    logger.error("topup.unresolved", topup=public_id(TRANSACTION, held.id), hint="ask Paystream whether it was made")


def _fail(connection: sa.Connection, held: LeasedTopup, outcome: Rejected, now: datetime) -> None:
    connection.execute(
        sa.text("""
            UPDATE topups SET status = 'failed', next_action_at = NULL, last_error = :why,
                lease_token = NULL, lease_expires_at = NULL WHERE id = :id
        """),
        {"id": held.id, "why": f"{outcome.code}: {outcome.message}"},
    )
    entry = ledger.NewTransfer(held.wallet_id, TransferKind.TOPUP_FAIL, held.amount_cents, topup_id=held.id)
    ledger.post_transfers(connection, [entry], now)
    logger.warning("topup.refused", topup=public_id(TRANSACTION, held.id), code=outcome.code)
