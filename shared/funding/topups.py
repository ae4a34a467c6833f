"""Top-ups: requested from the provider, and credited to the wallet when it confirms them."""

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
"""First and longest interval of polling for a settlement; the first depends on the method."""

KEY_EXPIRY_MARGIN_SECONDS: Final = 600.0
"""A key is not sent again this close to its expiry: the provider's clock may differ."""
CREDIT_LOOKBACK_MARGIN: Final = timedelta(hours=1)
"""How long before the request the search of credits ends: the provider's clock may differ."""
CREDIT_PAGES_MAX: Final = 200


class RequestedTopup(NamedTuple):
    """A top-up that was just requested."""

    id: uuid.UUID
    amount_cents: int
    balance_cents: int
    """The wallet's available plus pending funding, with this top-up."""
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
    """Store a pending top-up; a worker then requests it from the provider."""
    topup_id = _insert(connection, wallet_id, amount_cents, method, description, now, due=now + grace)
    balances = ledger.load_balances(connection, wallet_id)
    total_cents = balances.available_cents + balances.pending_funding_cents
    return RequestedTopup(topup_id, amount_cents, total_cents, "pending", now)


def grant_sandbox_funds(connection: sa.Connection, wallet_id: uuid.UUID, amount_cents: int, now: datetime) -> None:
    """Credit a new sandbox wallet's opening balance, without the provider."""
    topup_id = _insert(
        connection, wallet_id, amount_cents, SANDBOX_GRANT_METHOD, "Sandbox opening balance", now, due=None
    )
    _settle(connection, topup_id, wallet_id, amount_cents, now)


# Inserts the top-up; locks nothing else.
_INSERT_TOPUP: Final = sa.text("""
    INSERT INTO topups (id, wallet_id, amount_cents, method, description, status, created_at, next_action_at)
    VALUES (:id, :wallet_id, :amount, :method, :description, 'pending', :now, :due)
""")


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
        _INSERT_TOPUP,
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


# Marks the top-up as settled and ends its lease; locks its row.
_MARK_SETTLED: Final = sa.text("""
    UPDATE topups SET status = 'settled', settled_at = :now, next_action_at = NULL, last_error = NULL,
        lease_token = NULL, lease_expires_at = NULL WHERE id = :id RETURNING method, description, created_at
""")


def _settle(
    connection: sa.Connection, topup_id: uuid.UUID, wallet_id: uuid.UUID, amount_cents: int, now: datetime
) -> None:
    row = connection.execute(_MARK_SETTLED, {"id": topup_id, "now": now}).one()
    entry = ledger.NewTransfer(wallet_id, TransferKind.TOPUP_SETTLE, amount_cents, topup_id=topup_id)
    ledger.post_transfers(connection, [entry], now)
    if row.method == SANDBOX_GRANT_METHOD:  # not requested by the customer
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
    """A top-up that this worker has leased."""

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


def call_provider_for_topup(paystream: PaystreamClient, leased: LeasedTopup) -> CallOutcome | None:
    """Request the top-up, or look for its credit if the provider has it.

    Return None if its key may have expired: another request might debit the bank twice, so an operator must check.
    """
    if leased.provider_id is None:
        if leased.key_may_have_expired:
            return None
        return paystream.call(request_topup_call(leased.mode, leased.id, leased.amount_cents, leased.method))
    call, since = list_credits_call(leased.mode), leased.created_at - CREDIT_LOOKBACK_MARGIN
    for _ in range(CREDIT_PAGES_MAX):
        outcome = paystream.call(call)
        if not isinstance(outcome, Accepted):
            return outcome
        try:
            credits = decode_resource(outcome.data, list[BalanceTransaction])
        except UnexpectedResponse as error:
            return Unknown(str(error))
        credit = next((one for one in credits if one.reference == leased.provider_id and one.type == "credit"), None)
        if credit is not None:
            return Accepted(credit)
        if outcome.next_cursor is None or (credits and credits[-1].created_at < since):
            break
        call = call._replace(params={**(call.params or {}), "cursor": outcome.next_cursor})
    return Accepted(None)


# Leases free top-ups; locks their rows, skipping locked ones.
_CLAIM_TOPUPS: Final = sa.text(f"""
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
""")


def claim_topups(
    connection: sa.Connection, topup_ids: Sequence[uuid.UUID], *, lease_seconds: float, key_lifetime_seconds: float
) -> list[LeasedTopup]:
    """Lease the pending top-ups that are not leased; while no money may leave, only those that the provider has."""
    values = {
        "ids": list(topup_ids),
        "token": uuid.uuid4(),
        "lease_seconds": lease_seconds,
        "safe_seconds": key_lifetime_seconds - lease_seconds - KEY_EXPIRY_MARGIN_SECONDS,
    }
    return [LeasedTopup(*row) for row in connection.execute(_CLAIM_TOPUPS, values)]


# Locks the top-up, if the lease is still ours.
_LOCK_LEASED: Final = sa.text(
    "SELECT true FROM topups WHERE id = :id AND lease_token = :token AND status = 'pending' FOR UPDATE"
)

# Ends the lease of a locked top-up and schedules its next call. An unsent first attempt does not start the lifetime
# of the key.
_RECORD_PROGRESS: Final = sa.text("""
    UPDATE topups SET lease_token = NULL, lease_expires_at = NULL, last_error = :error,
        attempts = CASE WHEN :unsent THEN 0 ELSE :attempts END,
        first_sent_at = CASE WHEN :unsent THEN NULL ELSE first_sent_at END,
        next_action_at = :due, provider_id = coalesce(provider_id, :provider_id) WHERE id = :id
""")


def record_topup_outcome(
    connection: sa.Connection, leased: LeasedTopup, outcome: CallOutcome | None, now: datetime
) -> None:
    """Record the result of `call_provider_for_topup`; do nothing if the lease is no longer ours."""
    mine = connection.scalar(_LOCK_LEASED, {"id": leased.id, "token": leased.token})
    if not mine:
        logger.warning("topup.fenced", topup=public_id(TRANSACTION, leased.id))
        return
    if outcome is None:
        _stop_retrying(connection, leased)
        return
    if isinstance(outcome, Rejected) and leased.provider_id is None:
        _fail(connection, leased, outcome, now)
        return
    changes: dict[str, Any] = {"provider_id": None, "error": None, "attempts": leased.attempts, "unsent": False}
    first_seconds = SETTLEMENT_POLL_FIRST_SECONDS.get(leased.method, 1.0)
    max_seconds = SETTLEMENT_POLL_MAX_SECONDS
    wait_seconds = backoff_seconds(leased.attempts, first_seconds=first_seconds, max_seconds=max_seconds)
    if isinstance(outcome, Accepted):
        try:
            if leased.provider_id is None:
                changes |= {"provider_id": decode_resource(outcome.data, TopupResource).id, "attempts": 0}
                wait_seconds = first_seconds
            elif outcome.data is not None:
                if outcome.data.amount == leased.amount_cents:
                    _settle(connection, leased.id, leased.wallet_id, leased.amount_cents, now)
                    return
                changes["error"] = f"Paystream credited {outcome.data.amount} cents instead of {leased.amount_cents}"
                logger.error("topup.mismatch", topup=public_id(TRANSACTION, leased.id), why=changes["error"])
        except UnexpectedResponse as error:
            changes["error"] = str(error)
    elif isinstance(outcome, Throttled):
        wait_seconds = outcome.retry_after_seconds
        changes["unsent"] = leased.attempts == 1 and leased.provider_id is None
    else:
        changes["error"] = (
            f"{outcome.code}: {outcome.message}" if isinstance(outcome, Rejected) else outcome.explanation
        )
    connection.execute(
        _RECORD_PROGRESS,
        changes | {"id": leased.id, "due": now + timedelta(seconds=wait_seconds)},
    )


# Ends the lease of a locked top-up for an operator to check.
_STOP_RETRYING: Final = sa.text("""
    UPDATE topups SET next_action_at = NULL, lease_token = NULL, lease_expires_at = NULL,
        last_error = 'no answer within the lifetime of its key' WHERE id = :id
""")


def _stop_retrying(connection: sa.Connection, leased: LeasedTopup) -> None:
    connection.execute(_STOP_RETRYING, {"id": leased.id})
    logger.error("topup.unresolved", topup=public_id(TRANSACTION, leased.id), hint="ask Paystream whether it was made")


# Marks a locked top-up as failed and ends its lease.
_MARK_FAILED: Final = sa.text("""
    UPDATE topups SET status = 'failed', next_action_at = NULL, last_error = :why,
        lease_token = NULL, lease_expires_at = NULL WHERE id = :id
""")


def _fail(connection: sa.Connection, leased: LeasedTopup, outcome: Rejected, now: datetime) -> None:
    connection.execute(
        _MARK_FAILED,
        {"id": leased.id, "why": f"{outcome.code}: {outcome.message}"},
    )
    entry = ledger.NewTransfer(leased.wallet_id, TransferKind.TOPUP_FAIL, leased.amount_cents, topup_id=leased.id)
    ledger.post_transfers(connection, [entry], now)
    logger.warning("topup.refused", topup=public_id(TRANSACTION, leased.id), code=outcome.code)
