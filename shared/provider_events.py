"""The webhook inbox: verified notices of the provider, stored once, applied by a worker.

Both published shapes are read: the provider's own (`type`, `data.paymentId`) and the one of our reference
(`event`, `data.payoutId`).
"""

import hashlib
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, NamedTuple

import msgspec
import sqlalchemy as sa
import structlog

from shared.clock import rfc3339
from shared.db import as_rows
from shared.ids import LOG, PAYOUT, new_id, parse, show
from shared.lists import Page, Wanted, chosen
from shared.payouts.settle import NOTICES, Report, Settled, Verdict, settle
from shared.paystream.outcomes import backoff_seconds

logger = structlog.get_logger(__name__)

SUBJECTS = frozenset({"payment", "payout"})
"""What a notice that concerns us is about; a batch's payments each send their own."""

ORPHAN_LIFETIME = timedelta(days=1)
"""How long a notice about a payment that we do not know is tried again."""


class _Data(msgspec.Struct, rename="camel"):
    payment_id: str | None = None
    payout_id: str | None = None
    amount: Annotated[int, msgspec.Meta(ge=-(2**62), le=2**62)] | None = None
    status: str | None = None
    failure_code: str | None = None
    failure_reason: str | None = None


class _Body(msgspec.Struct):
    id: str | None = None
    type: str | None = None
    event: str | None = None
    data: _Data = msgspec.field(default_factory=_Data)


class Malformed(Exception):
    """The body is not a notice in either published shape."""


class Notice(NamedTuple):
    """A verified webhook, read."""

    id: uuid.UUID
    event_key: str
    body_sha256: bytes
    type: str
    payment_id: str | None
    payout_id: uuid.UUID | None
    amount_cents: int | None
    failure_code: str | None
    failure_reason: str | None
    body: bytes

    @property
    def mere_notice(self) -> bool:
        """Whether it can change nothing, whatever it is about: stored as handled, no worker looks at it."""
        subject, _, state = self.type.partition(".")
        return subject not in SUBJECTS or state in NOTICES


def read(body: bytes) -> Notice:
    """Reads a verified body.

    Raises:
        Malformed: it is not JSON, or names no event.
    """
    try:
        content = msgspec.json.decode(body, type=_Body)
        msgspec.json.decode(body)  # what is in fields that we don't know has to be JSON, too
    except (ValueError, RecursionError) as error:  # DecodeError, UnicodeDecodeError
        raise Malformed(f"The body is not a Paystream event: {error}") from error
    kind = content.type or content.event
    if not kind or "\0" in body.decode(errors="replace") or b"\\u0000" in body:
        raise Malformed("The body is not a Paystream event: it has neither type nor event")
    subject, _, state = kind.partition(".")
    if subject in SUBJECTS and state not in NOTICES and not (content.data.payment_id or content.data.payout_id):
        raise Malformed("The body is not a Paystream event: its data names neither paymentId nor payoutId")
    digest = hashlib.sha256(body).digest()
    payout_id = content.data.payout_id
    return Notice(
        id=new_id(),
        event_key=content.id or f"sha256:{digest.hex()}",
        body_sha256=digest,
        type=kind,
        payment_id=content.data.payment_id,
        payout_id=parse(PAYOUT, payout_id) if payout_id else None,
        amount_cents=content.data.amount,
        failure_code=content.data.failure_code,
        failure_reason=content.data.failure_reason,
        body=body,
    )


def store(connection: sa.Connection, notices: Sequence[Notice], now: datetime, *, grace: timedelta) -> list[uuid.UUID]:
    """Stores the notices that are new. Returns the ids to ring for; repeats are dropped, for they are in already.

    The same id with another body is a contradiction: it is logged as an error and changes nothing.
    """
    first = {notice.event_key: notice for notice in reversed(notices)}
    keys = sorted(first)
    inserted = set(
        connection.scalars(
            sa.text("""
                INSERT INTO provider_events (id, event_key, body_sha256, type, payment_id, payout_id, amount_cents,
                                             failure_code, failure_reason, body, status, outcome, wallet_id,
                                             received_at, next_action_at, handled_at)
                SELECT made.*, :now, CASE made.status WHEN 'received' THEN CAST(:due AS timestamptz) END,
                       CASE made.status WHEN 'ignored' THEN CAST(:now AS timestamptz) END
                FROM (
                    SELECT notice.id, event_key, decode(body_sha256, 'base64'), type, notice.payment_id,
                           coalesce(notice.payout_id, submission_items.payout_id), notice.amount_cents,
                           notice.failure_code, notice.failure_reason,
                           decode(body, 'base64'), notice.status, outcome,
                           coalesce(submissions.wallet_id, payouts.wallet_id)
                    FROM json_to_recordset(CAST(:notices AS json)) AS notice (
                        id uuid, event_key text, body_sha256 text, type text, payment_id text, payout_id uuid,
                        amount_cents bigint, failure_code text, failure_reason text, body text, status text,
                        outcome text)
                    LEFT JOIN submission_items ON submission_items.provider_payment_id = notice.payment_id
                    LEFT JOIN submissions ON submissions.id = submission_items.submission_id
                    LEFT JOIN payouts ON payouts.id = notice.payout_id
                ) AS made
                ON CONFLICT (event_key) DO NOTHING RETURNING id
            """),
            {
                "now": now,
                "due": now + grace,
                "notices": as_rows(
                    first[key]._asdict()
                    | {
                        "status": "ignored" if first[key].mere_notice else "received",
                        "outcome": "a notice on the way" if first[key].mere_notice else None,
                    }
                    for key in keys
                ),
            },
        )
    )
    repeats = [notice for notice in notices if notice.id not in inserted]
    if repeats:
        _contradicted(connection, repeats)
    return [notice.id for notice in notices if notice.id in inserted and not notice.mere_notice]


def _contradicted(connection: sa.Connection, repeats: Sequence[Notice]) -> None:
    rows = connection.execute(
        sa.text("SELECT event_key, body_sha256 FROM provider_events WHERE event_key = ANY(:keys)"),
        {"keys": [notice.event_key for notice in repeats]},
    )
    known: dict[str, Any] = {row.event_key: row.body_sha256 for row in rows}
    for notice in repeats:
        if known.get(notice.event_key) not in (None, notice.body_sha256):
            logger.error("provider_event.contradicted", event_key=notice.event_key, type=notice.type)


def apply(connection: sa.Connection, event_ids: Sequence[uuid.UUID], now: datetime) -> list[Settled]:
    """Applies those of the events that still wait, in the order in which they came.

    A notice about a payment that we do not know waits as `orphan` and is tried again for a day: it may be faster
    than the answer to our own call.
    """
    rows = connection.execute(
        sa.text("""
            SELECT id, type, payment_id, payout_id, amount_cents, failure_code, failure_reason, received_at, attempts
            FROM provider_events WHERE id = ANY(:ids) AND status IN ('received', 'orphan')
            ORDER BY id FOR UPDATE SKIP LOCKED
        """),
        {"ids": list(event_ids)},
    ).all()
    reports = [
        Report(
            state=row.type.partition(".")[2],
            payment_id=row.payment_id,
            payout_id=row.payout_id,
            amount_cents=row.amount_cents,
            failure_code=row.failure_code,
            failure_reason=row.failure_reason,
            source="webhook",
        )
        for row in rows
    ]
    answers = settle(connection, reports, now)
    dues = [
        now + timedelta(seconds=backoff_seconds(row.attempts + 1))
        if answer.verdict is Verdict.ORPHAN and now - row.received_at < ORPHAN_LIFETIME
        else None
        for row, answer in zip(rows, answers, strict=True)
    ]
    for row, answer, due in zip(rows, answers, dues, strict=True):
        if answer.verdict is Verdict.ORPHAN and due is None:
            logger.error("provider_event.unplaced", event_id=row.id.hex, type=row.type, payment=row.payment_id)
    connection.execute(
        sa.text("""
            UPDATE provider_events SET status = handled.status, outcome = handled.outcome, attempts = attempts + 1,
                payout_id = coalesce(handled.payout_id, provider_events.payout_id),
                wallet_id = coalesce(provider_events.wallet_id, payouts.wallet_id),
                next_action_at = handled.due, handled_at = CASE WHEN handled.due IS NULL THEN :now END
            FROM json_to_recordset(CAST(:handled AS json))
                 AS handled (id uuid, status text, outcome text, payout_id uuid, due timestamptz)
            LEFT JOIN payouts ON payouts.id = handled.payout_id
            WHERE provider_events.id = handled.id
        """),
        {
            "now": now,
            "handled": as_rows(
                {
                    "id": row.id,
                    "status": answer.verdict,
                    "outcome": answer.outcome,
                    "payout_id": answer.payout_id,
                    "due": due,
                }
                for row, answer, due in zip(rows, answers, dues, strict=True)
            ),
        },
    )
    _place_early(connection, [row.id for row in rows])
    return answers


def _place_early(connection: sa.Connection, event_ids: Sequence[uuid.UUID]) -> None:
    """Notices may come before the answer to our own call, and nobody knows then whose they are: whoever handles a later
    event of the same payment says so."""
    connection.execute(
        sa.text("""
            WITH early AS (
                SELECT early.id, payouts.id AS payout_id, payouts.wallet_id
                FROM provider_events AS handled
                JOIN payouts ON payouts.id = handled.payout_id
                JOIN provider_events AS early ON early.payment_id = handled.payment_id AND early.wallet_id IS NULL
                WHERE handled.id = ANY(:ids) FOR UPDATE OF early SKIP LOCKED
            )
            UPDATE provider_events SET payout_id = early.payout_id, wallet_id = early.wallet_id
            FROM early WHERE provider_events.id = early.id
        """),
        {"ids": list(event_ids)},
    )


COUNTED_MOST = 10_000
"""How far the lengths of logs are counted."""

LOG_STATUSES = {
    "received": "pending",
    "orphan": "pending",
    "applied": "success",
    "ignored": "success",
    "mismatch": "error",
}
"""What the log says of each status."""


class LogRow(NamedTuple):
    """A webhook as its log shows it."""

    id: uuid.UUID
    type: str
    body: bytes
    status: str
    outcome: str | None
    payout_id: uuid.UUID | None
    received_at: datetime
    handled_at: datetime | None


def log(connection: sa.Connection, wallet_id: uuid.UUID, wanted: Wanted, *, event: str | None = None) -> Page[LogRow]:
    """A part of the webhooks about the wallet's payouts, newest first. The total is counted to `COUNTED_MOST`."""
    where, values = "wallet_id = :wallet_id", dict[str, Any](wallet_id=wallet_id)
    if event is not None:
        subject, _, state = event.partition(".")
        names = [event, f"payment.{state}"] if subject == "payout" else [event]
        where, values["names"] = f"{where} AND type = ANY(:names)", names
    ids, more = chosen(connection, "provider_events", where, values, wanted)
    rows = connection.execute(
        sa.text("""
            SELECT id, type, body, status, outcome, payout_id, received_at, handled_at
            FROM provider_events WHERE id = ANY(:ids) ORDER BY id DESC
        """),
        {"ids": ids},
    )
    total = connection.scalar(
        sa.text(f"SELECT count(*) FROM (SELECT FROM provider_events WHERE {where} LIMIT :most) AS counted"),
        values | {"most": COUNTED_MOST},
    )
    return Page([LogRow._make(row) for row in rows], total or 0, more)


def log_public(row: LogRow) -> dict[str, Any]:
    """The webhook in the API's shape (reference: Webhook Logs). Paystream's payment is our payout."""
    subject, dot, state = row.type.partition(".")
    try:
        payload = msgspec.json.decode(row.body)
    except (ValueError, RecursionError):
        payload = {}
    return {
        "id": show(LOG, row.id),
        "event": f"payout.{state}" if dot and subject == "payment" else row.type,
        "payload": payload,
        "receivedAt": rfc3339(row.received_at),
        "processedAt": row.handled_at and rfc3339(row.handled_at),
        "status": LOG_STATUSES[row.status],
        "outcome": row.outcome,
        "payoutId": row.payout_id and show(PAYOUT, row.payout_id),
    }
