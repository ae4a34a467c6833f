"""Records results of calls: the delivery's status and next attempt, the endpoint's failures and pace.

A result counts only while the delivery still has the attempt's lease token.
"""

import random
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
import structlog

from shared.events import customer_events
from shared.events.claim import DeliveryAttempt
from shared.events.customer_events import Event, EventType
from shared.events.endpoints import mask_url_query
from shared.events.pace_limits import next_pace
from shared.events.retry_schedule import PAUSE_AFTER, cooldown_seconds, retry_delay_seconds
from shared.identity import audit
from shared.platform.database import encode_rows
from shared.platform.ids import WEBHOOK, public_id
from shared.schema.audit import Action
from shared.schema.events import DeliveryStatus, EndpointStatus, Pace, PausedReason

logger = structlog.get_logger(__name__)

DELIVERY_OUTCOMES: Final = ("delivered", "refused", "gone", "timeout", "unreachable", "blocked")


class DeliveryResult(NamedTuple):
    """How a call ended."""

    outcome: str
    """One of `DELIVERY_OUTCOMES`: `gone` is 410, `refused` any other status that is not a success."""
    http_status: int | None
    error: str | None
    """Why it failed, in a sentence of ours."""
    seconds: float
    retry_after_seconds: float | None = None

    @property
    def is_delivered(self) -> bool:
        return self.outcome == "delivered"


class PausedEndpoint(NamedTuple):
    endpoint_id: uuid.UUID
    reason: PausedReason


# Locks the endpoints in order.
_LOCK_ENDPOINTS: Final = sa.text("SELECT * FROM webhook_endpoints WHERE id = ANY (:ids) ORDER BY id FOR NO KEY UPDATE")


def record_delivery_results(
    connection: sa.Connection,
    results: Sequence[tuple[DeliveryAttempt, DeliveryResult]],
    now: datetime,
    *,
    jitter: Callable[[], float] = random.random,
) -> list[PausedEndpoint]:
    """Record results in the order in which the calls ended; return the endpoints that they paused."""
    if not results:
        return []
    ids = list({attempt.endpoint_id for attempt, _ in results})
    endpoints = {row.id: dict(row._mapping) for row in connection.execute(_LOCK_ENDPOINTS, {"ids": ids})}
    leased = _lock_leased(connection, results)
    counted = [(attempt, result) for attempt, result in results if attempt.lease_key in leased]
    _update_deliveries(connection, counted, now, jitter)
    paused = []
    for attempt, result in counted:
        endpoint = endpoints[attempt.endpoint_id]
        reason = _apply_to_endpoint(endpoint, result, now)
        if reason is not None and endpoint["status"] == EndpointStatus.ACTIVE and endpoint["deleted_at"] is None:
            endpoint |= {"status": EndpointStatus.PAUSED, "paused_reason": reason}
            paused.append(PausedEndpoint(attempt.endpoint_id, reason))
    _update_endpoints(connection, [endpoints[key] for key in {attempt.endpoint_id for attempt, _ in counted}])
    for one in paused:
        _announce_pause(connection, endpoints[one.endpoint_id], now)
    return paused


# Locks the deliveries that still have the attempt's lease token, in order.
_LOCK_LEASED: Final = sa.text("""
    SELECT endpoint_id, event_id, lease_token FROM webhook_deliveries
    JOIN json_to_recordset(CAST(:keys AS json)) AS attempt (endpoint_id uuid, event_id uuid, token uuid)
    USING (endpoint_id, event_id)
    WHERE lease_token = token ORDER BY endpoint_id, event_id FOR NO KEY UPDATE OF webhook_deliveries
""")


def _lock_leased(
    connection: sa.Connection, results: Sequence[tuple[DeliveryAttempt, DeliveryResult]]
) -> set[tuple[uuid.UUID, uuid.UUID, uuid.UUID]]:
    keys = [
        {"endpoint_id": attempt.endpoint_id, "event_id": attempt.event_id, "token": attempt.token}
        for attempt, _ in results
    ]
    return {(row[0], row[1], row[2]) for row in connection.execute(_LOCK_LEASED, {"keys": encode_rows(keys)})}


# Writes the results of locked deliveries and ends their leases.
_UPDATE_DELIVERIES: Final = sa.text("""
    UPDATE webhook_deliveries SET status = result.status, http_status = result.http_status, error = result.error,
        duration_ms = result.duration_ms, attempted_at = :now, next_action_at = result.due,
        delivered_at = CASE result.status WHEN 'delivered' THEN coalesce(delivered_at, :now) ELSE delivered_at END,
        lease_token = NULL, lease_expires_at = NULL
    FROM json_to_recordset(CAST(:results AS json)) AS result (endpoint_id uuid, event_id uuid, status text,
        http_status int, error text, duration_ms int, due timestamptz)
    WHERE webhook_deliveries.endpoint_id = result.endpoint_id AND webhook_deliveries.event_id = result.event_id
""")


def _update_deliveries(
    connection: sa.Connection,
    counted: Sequence[tuple[DeliveryAttempt, DeliveryResult]],
    now: datetime,
    jitter: Callable[[], float],
) -> None:
    rows = []
    for attempt, result in counted:
        delay_seconds, status = None, DeliveryStatus.DELIVERED
        if not result.is_delivered:
            delay_seconds = retry_delay_seconds(attempt.attempts, result.retry_after_seconds, jitter())
            status = DeliveryStatus.FAILED if delay_seconds is None else DeliveryStatus.PENDING
        rows.append(
            {
                "endpoint_id": attempt.endpoint_id,
                "event_id": attempt.event_id,
                "status": status,
                "http_status": result.http_status,
                "error": result.error,
                "duration_ms": round(result.seconds * 1000),
                "due": None if delay_seconds is None else now + timedelta(seconds=delay_seconds),
            }
        )
    if rows:
        connection.execute(_UPDATE_DELIVERIES, {"now": now, "results": encode_rows(rows)})


def _apply_to_endpoint(endpoint: dict[str, Any], result: DeliveryResult, now: datetime) -> PausedReason | None:
    """Update failures, cooldown and pace; returns why to pause the endpoint, if it must be."""
    if result.is_delivered:
        endpoint |= {"failing_since": None, "failures_in_a_row": 0, "not_before": None}
    else:
        endpoint["failures_in_a_row"] += 1
        endpoint["failing_since"] = endpoint["failing_since"] or now
        pause_seconds = max(cooldown_seconds(endpoint["failures_in_a_row"]), result.retry_after_seconds or 0.0)
        if pause_seconds:
            until = now + timedelta(seconds=pause_seconds)
            endpoint["not_before"] = max(until, endpoint["not_before"] or until)
    endpoint["pace"] = next_pace(
        Pace(endpoint["pace"]),
        delivered=result.is_delivered,
        seconds=result.seconds,
        failures_in_a_row=endpoint["failures_in_a_row"],
    )
    if result.outcome == "gone":
        return PausedReason.GONE
    failing_since = endpoint["failing_since"]
    return PausedReason.FAILING if failing_since is not None and now - failing_since >= PAUSE_AFTER else None


_ENDPOINT_STATE: Final = ("id", "status", "paused_reason", "pace", "failing_since", "failures_in_a_row", "not_before")
# Writes the state of locked endpoints; leaves those without a change.
_UPDATE_ENDPOINTS: Final = sa.text("""
    UPDATE webhook_endpoints SET status = state.status, paused_reason = state.paused_reason, pace = state.pace,
        failing_since = state.failing_since, failures_in_a_row = state.failures_in_a_row,
        not_before = state.not_before
    FROM json_to_recordset(CAST(:states AS json)) AS state (id uuid, status text, paused_reason text, pace text,
        failing_since timestamptz, failures_in_a_row int, not_before timestamptz)
    WHERE webhook_endpoints.id = state.id
      AND (webhook_endpoints.status, webhook_endpoints.pace, webhook_endpoints.failures_in_a_row)
          IS DISTINCT FROM (state.status, state.pace, state.failures_in_a_row)
""")


def _update_endpoints(connection: sa.Connection, endpoints: Sequence[dict[str, Any]]) -> None:
    states = ({name: endpoint[name] for name in _ENDPOINT_STATE} for endpoint in endpoints)
    connection.execute(_UPDATE_ENDPOINTS, {"states": encode_rows(states)})


# Reads the organization of a wallet.
_WALLET_ORGANIZATION: Final = sa.text("SELECT organization_id FROM wallets WHERE id = :id")


def _announce_pause(connection: sa.Connection, endpoint: dict[str, Any], now: datetime) -> None:
    webhook_id, reason = public_id(WEBHOOK, endpoint["id"]), endpoint["paused_reason"].value
    data = {"id": webhook_id, "url": mask_url_query(endpoint["url"]), "pausedReason": reason}
    customer_events.write_events(
        connection, [Event(endpoint["wallet_id"], EventType.WEBHOOK_PAUSED.value, None, 0, data)], now
    )
    organization_id = connection.scalar(_WALLET_ORGANIZATION, {"id": endpoint["wallet_id"]})
    assert isinstance(organization_id, uuid.UUID)
    actor = audit.system_actor(organization_id, endpoint["wallet_id"])
    states = {"status": EndpointStatus.ACTIVE.value}, {"status": EndpointStatus.PAUSED.value, "reason": reason}
    audit.record_entries(connection, [audit.Entry(actor, Action.WEBHOOK_PAUSE, webhook_id, *states)], now)
    logger.warning("webhook.paused", webhook=webhook_id, reason=reason)
