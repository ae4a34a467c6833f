"""What became of an attempt: its record, the next one's time, and what it says of the endpoint.

A result counts only while the attempt's lease token is still the delivery's own.
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
    """How a call ended. Of the answer itself nothing is kept but its status."""

    result: str
    """One of `DELIVERY_OUTCOMES`: `refused` is another status than a success, `gone` is 410."""
    http_status: int | None
    error: str | None
    """Why it is no success, in our words."""
    seconds: float
    retry_after_seconds: float | None = None

    @property
    def delivered(self) -> bool:
        """Whether it was a success."""
        return self.result == "delivered"


class PausedEndpoint(NamedTuple):
    """An endpoint that was paused by what has been recorded."""

    endpoint_id: uuid.UUID
    reason: PausedReason


def record_delivery_results(
    connection: sa.Connection,
    done: Sequence[tuple[DeliveryAttempt, DeliveryResult]],
    now: datetime,
    *,
    jitter: Callable[[], float] = random.random,
) -> list[PausedEndpoint]:
    """Records how calls ended, in that order; returns the endpoints that are paused because of them."""
    if not done:
        return []
    # An endpoint before its deliveries, as when they are claimed.
    rows = connection.execute(
        sa.text("SELECT * FROM webhook_endpoints WHERE id = ANY (:ids) ORDER BY id FOR NO KEY UPDATE"),
        {"ids": list({attempt.endpoint_id for attempt, _ in done})},
    )
    endpoints = {row.id: dict(row._mapping) for row in rows}
    held = _still_held(connection, done)
    counted = [(attempt, reply) for attempt, reply in done if (*attempt.key, attempt.token) in held]
    _write_deliveries(connection, counted, now, jitter)
    paused = []
    for attempt, reply in counted:
        endpoint = endpoints[attempt.endpoint_id]
        reason = _judge(endpoint, reply, now)
        if reason is not None and endpoint["status"] == EndpointStatus.ACTIVE and endpoint["deleted_at"] is None:
            endpoint |= {"status": EndpointStatus.PAUSED, "paused_reason": reason}
            paused.append(PausedEndpoint(attempt.endpoint_id, reason))
    _write_endpoints(connection, [endpoints[key] for key in {attempt.endpoint_id for attempt, _ in counted}])
    for one in paused:
        _tell(connection, endpoints[one.endpoint_id], now)
    return paused


def _still_held(
    connection: sa.Connection, done: Sequence[tuple[DeliveryAttempt, DeliveryResult]]
) -> set[tuple[uuid.UUID, uuid.UUID, uuid.UUID]]:
    """The deliveries whose token is still that of the attempt, locked."""
    keys = [
        {"endpoint_id": attempt.endpoint_id, "event_id": attempt.event_id, "token": attempt.token}
        for attempt, _ in done
    ]
    rows = connection.execute(
        sa.text("""
            SELECT endpoint_id, event_id, lease_token FROM webhook_deliveries
            JOIN json_to_recordset(CAST(:keys AS json)) AS done (endpoint_id uuid, event_id uuid, token uuid)
            USING (endpoint_id, event_id)
            WHERE lease_token = token ORDER BY endpoint_id, event_id FOR NO KEY UPDATE OF webhook_deliveries
        """),
        {"keys": encode_rows(keys)},
    )
    return {(row[0], row[1], row[2]) for row in rows}


def _write_deliveries(
    connection: sa.Connection,
    counted: Sequence[tuple[DeliveryAttempt, DeliveryResult]],
    now: datetime,
    jitter: Callable[[], float],
) -> None:
    lines = []
    for attempt, reply in counted:
        wait_seconds = (
            None if reply.delivered else retry_delay_seconds(attempt.attempts, reply.retry_after_seconds, jitter())
        )
        pending = not reply.delivered and wait_seconds is not None
        status = DeliveryStatus.PENDING if pending else DeliveryStatus.FAILED
        lines.append(
            {
                "endpoint_id": attempt.endpoint_id,
                "event_id": attempt.event_id,
                "status": DeliveryStatus.DELIVERED if reply.delivered else status,
                "http_status": reply.http_status,
                "error": reply.error,
                "duration_ms": round(reply.seconds * 1000),
                "due": None if wait_seconds is None else now + timedelta(seconds=wait_seconds),
            }
        )
    if lines:
        connection.execute(
            sa.text("""
                UPDATE webhook_deliveries SET status = done.status, http_status = done.http_status, error = done.error,
                    duration_ms = done.duration_ms, attempted_at = :now, next_action_at = done.due,
                    delivered_at = CASE done.status WHEN 'delivered' THEN coalesce(delivered_at, :now)
                                   ELSE delivered_at END,
                    lease_token = NULL, lease_expires_at = NULL
                FROM json_to_recordset(CAST(:lines AS json)) AS done (endpoint_id uuid, event_id uuid, status text,
                    http_status int, error text, duration_ms int, due timestamptz)
                WHERE webhook_deliveries.endpoint_id = done.endpoint_id AND webhook_deliveries.event_id = done.event_id
            """),
            {"now": now, "lines": encode_rows(lines)},
        )


def _judge(endpoint: dict[str, Any], reply: DeliveryResult, now: datetime) -> PausedReason | None:
    """Notes what a reply says of its endpoint; returns why the endpoint is to be paused, if it is."""
    if reply.delivered:
        endpoint |= {"failing_since": None, "failures_in_a_row": 0, "not_before": None}
    else:
        endpoint["failures_in_a_row"] += 1
        endpoint["failing_since"] = endpoint["failing_since"] or now
        rest = max(cooldown_seconds(endpoint["failures_in_a_row"]), reply.retry_after_seconds or 0.0)
        until = now + timedelta(seconds=rest)
        endpoint["not_before"] = max(until, endpoint["not_before"] or until) if rest else endpoint["not_before"]
    endpoint["pace"] = next_pace(
        Pace(endpoint["pace"]),
        delivered=reply.delivered,
        seconds=reply.seconds,
        failures_in_a_row=endpoint["failures_in_a_row"],
    )
    if reply.result == "gone":
        return PausedReason.GONE
    failing_since = endpoint["failing_since"]
    return PausedReason.FAILING if failing_since is not None and now - failing_since >= PAUSE_AFTER else None


def _write_endpoints(connection: sa.Connection, endpoints: Sequence[dict[str, Any]]) -> None:
    names = ("id", "status", "paused_reason", "pace", "failing_since", "failures_in_a_row", "not_before")
    connection.execute(
        sa.text("""
            UPDATE webhook_endpoints SET status = now.status, paused_reason = now.paused_reason, pace = now.pace,
                failing_since = now.failing_since, failures_in_a_row = now.failures_in_a_row,
                not_before = now.not_before
            FROM json_to_recordset(CAST(:lines AS json)) AS now (id uuid, status text, paused_reason text, pace text,
                failing_since timestamptz, failures_in_a_row int, not_before timestamptz)
            WHERE webhook_endpoints.id = now.id
              AND (webhook_endpoints.status, webhook_endpoints.pace, webhook_endpoints.failures_in_a_row)
                  IS DISTINCT FROM (now.status, now.pace, now.failures_in_a_row)
        """),
        {"lines": encode_rows({name: endpoint[name] for name in names} for endpoint in endpoints)},
    )


def _tell(connection: sa.Connection, endpoint: dict[str, Any], now: datetime) -> None:
    """Says that an endpoint was paused: to the wallet's other endpoints, to the audit log and to ours."""
    shown, reason = public_id(WEBHOOK, endpoint["id"]), endpoint["paused_reason"].value
    data = {"id": shown, "url": mask_url_query(endpoint["url"]), "pausedReason": reason}
    customer_events.write_events(
        connection, [Event(endpoint["wallet_id"], EventType.WEBHOOK_PAUSED.value, None, 0, data)], now
    )
    organization_id = connection.scalar(
        sa.text("SELECT organization_id FROM wallets WHERE id = :id"), {"id": endpoint["wallet_id"]}
    )
    assert isinstance(organization_id, uuid.UUID)
    actor = audit.system_actor(organization_id, endpoint["wallet_id"])
    states = {"status": EndpointStatus.ACTIVE.value}, {"status": EndpointStatus.PAUSED.value, "reason": reason}
    audit.record_entries(connection, [audit.Entry(actor, Action.WEBHOOK_PAUSE, shown, *states)], now)
    logger.warning("webhook.paused", webhook=shown, reason=reason)
