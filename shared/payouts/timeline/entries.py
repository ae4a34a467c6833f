"""Timeline entries, built from the records of a payout."""

import uuid
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.payouts.rows import duplicate_warning
from shared.payouts.timeline import wording
from shared.payouts.timeline.next_step import ExpectedNextStep, expected_next_step
from shared.payouts.timeline.ordering import (
    EntryRank,
    RankedEntry,
    TimelineEntry,
    last_step_before,
    sort_entries,
    step_of_transfer,
)
from shared.payouts.timeline.records import PayoutRecord, RecordRow, load_payout_record
from shared.platform.clock import format_rfc3339
from shared.platform.ids import BATCH, EVENT, LOG, PAYOUT, SUBMISSION, TRANSACTION, public_id
from shared.schema.payouts import SubmissionKind

TIMELINE_EVENTS_MAX: Final = 1_000
"""The most events in a timeline: the newest."""


class Timeline(NamedTuple):
    """A payout's status, history and expected next step."""

    status: str
    events: list[TimelineEntry]
    """Oldest first."""
    truncated: bool
    """Whether older events are omitted."""
    next: ExpectedNextStep | None


def load_timeline(
    connection: sa.Connection, wallet_id: uuid.UUID, payout_id: uuid.UUID, now: datetime
) -> Timeline | None:
    """The timeline of the wallet's payout, or None."""
    record = load_payout_record(connection, wallet_id, payout_id, TIMELINE_EVENTS_MAX + 1)
    if record is None:
        return None
    events = sort_entries(record, _build_entries(record))
    return Timeline(
        record.payout["status"],
        events[-TIMELINE_EVENTS_MAX:],
        len(events) > TIMELINE_EVENTS_MAX,
        expected_next_step(record, now),
    )


def _build_entries(record: PayoutRecord) -> Iterator[RankedEntry]:
    yield from _transitions(record)
    yield from _transfers(record)
    for row in record.submissions:
        yield from _submission(record, row)
    yield from _webhooks(record)
    yield from _customer_events(record)
    if record.batch is not None:
        yield from _batch(record, record.batch)
    yield from _warnings_polls_and_holds(record)


def _transitions(record: PayoutRecord) -> Iterator[RankedEntry]:
    failures = {row["sequence"]: row["failure"] for row in record.customer_events}
    for row in record.transitions:
        failure = failures.get(row["sequence"])
        details: dict[str, Any] = {
            "from": row["from_status"],
            "to": row["to_status"],
            "attempt": row["attempt"],
            "reason": row["reason"],
        }
        if failure:
            details["failure"] = {"code": failure.get("code"), "message": failure.get("message")}
        title = wording.transition_title(row, record.payout["amount_cents"], record.driver_name, failure)
        yield (
            row["created_at"],
            row["sequence"],
            EntryRank.STEP,
            TimelineEntry(row["created_at"], "transition", title, details),
        )


def _transfers(record: PayoutRecord) -> Iterator[RankedEntry]:
    for row in reversed(record.transfers):  # the sort is stable: the fee stays after the settled amount
        details = {
            "transactionId": public_id(TRANSACTION, row["id"]),
            "type": row["kind"],
            "from": row["from_account"],
            "to": row["to_account"],
            "amount": row["amount_cents"],
            "attempt": row["attempt"],
        }
        event = TimelineEntry(row["created_at"], "transfer", wording.transfer_title(row), details)
        yield event.at, step_of_transfer(record, row), EntryRank.TRANSFER, event


def _submission(record: PayoutRecord, row: RecordRow) -> Iterator[RankedEntry]:
    processing = ("processing", row["attempt"])
    started = [one for one in record.transitions if (one["to_status"], one["attempt"]) == processing]
    step = started[0]["sequence"] if started else last_step_before(record, row["created_at"])
    # After a rejected batch is split, the payout's next submission follows the rejection of the one before.
    first = not started or row["created_at"] == started[0]["created_at"]
    name = {"submissionId": public_id(SUBMISSION, row["id"]), "attempt": row["attempt"]}
    with_others = row["kind"] == SubmissionKind.BATCH
    written = TimelineEntry(
        row["created_at"],
        "submission",
        f"Request to Paystream prepared{', together with other payouts' if with_others else ''}; every sending has the "
        "same key",
        name | {"rail": row["rail"], "amount": row["net_cents"], "withOthers": with_others},
    )
    yield written.at, step, EntryRank.BEFORE if first else EntryRank.AFTER, written
    if row["first_sent_at"] is not None:
        times = "" if row["attempts"] < 2 else f"; {row['attempts']} times so far, with the same key"
        sent = TimelineEntry(
            row["first_sent_at"], "submission", f"Sent to Paystream{times}", name | {"times": row["attempts"]}
        )
        yield sent.at, step, EntryRank.SENT, sent
    for answer in row["unclear_answers"] or ():
        event = _unclear(answer, name)
        yield event.at, step, EntryRank.ANSWER, event
    if row["answered_at"] is not None:
        yield row["answered_at"], step, EntryRank.ANSWER, _answer(row, name)


def _unclear(answer: RecordRow, name: dict[str, Any]) -> TimelineEntry:
    why = wording.unclear_answer_reason(answer["message"])
    title = {
        "throttled": f"Not processed yet ({why}); the same request is sent again later",
        "unknown": f"Outcome unknown ({why}); it is sent again with the same key",
        "unresolved": "Paystream does not find it after its key's lifetime; an operator has to check",
    }[answer["status"]]
    return TimelineEntry(
        datetime.fromisoformat(answer["at"]), "provider_answer", title, name | {"answer": answer["status"], "why": why}
    )


def _answer(row: RecordRow, name: dict[str, Any]) -> TimelineEntry:
    if row["status"] == "accepted":
        details = name | {"answer": "accepted", "paymentId": row["provider_payment_id"]}
        if row["kind"] == SubmissionKind.BATCH:
            details["paystreamBatchId"] = row["provider_id"]
        return TimelineEntry(row["answered_at"], "provider_answer", "Accepted by Paystream", details)
    details = name | {"answer": row["status"], "code": row["error_code"], "message": row["error_message"]}
    title = f"Rejected by Paystream: {row['error_message'] or row['error_code']}"
    if row["dissolved"]:
        title = "Paystream rejected the whole batch; the payout is sent again with fewer others"
    return TimelineEntry(row["answered_at"], "provider_answer", title, details)


def _webhooks(record: PayoutRecord) -> Iterator[RankedEntry]:
    for row in reversed(record.webhooks):
        details = {
            "logId": public_id(LOG, row["id"]),
            "event": row["type"],
            "paymentId": row["payment_id"],
            "amount": row["amount_cents"],
            "status": row["status"],
            "outcome": row["outcome"],
            "handledAt": row["handled_at"] and format_rfc3339(row["handled_at"]),
        }
        if row["failure_code"] is not None:
            details["failure"] = {"code": row["failure_code"], "message": row["failure_reason"]}
        event = TimelineEntry(row["received_at"], "provider_webhook", wording.webhook_title(row), details)
        yield event.at, last_step_before(record, event.at), EntryRank.AFTER, event


def _customer_events(record: PayoutRecord) -> Iterator[RankedEntry]:
    for row in record.customer_events:
        details = {"eventId": public_id(EVENT, row["id"]), "event": row["type"]}
        event = TimelineEntry(row["created_at"], "customer_event", f"Event {row['type']} created", details)
        yield event.at, row["sequence"], EntryRank.EVENT, event


def _batch(record: PayoutRecord, batch: RecordRow) -> Iterator[RankedEntry]:
    scheduled_for = batch["scheduled_for"] and format_rfc3339(batch["scheduled_for"])
    when = f"scheduled for release at {scheduled_for}" if scheduled_for else "to be released manually"
    details = {"batchId": public_id(BATCH, batch["id"]), "name": batch["name"], "payoutCount": batch["payout_count"]}
    title = f"Created in the batch {batch['name']} of {batch['payout_count']}, {when}"
    created = TimelineEntry(batch["created_at"], "batch", title, details | {"scheduledFor": scheduled_for})
    yield created.at, 1, EntryRank.BEFORE, created
    if batch["released_at"] is not None:
        released = TimelineEntry(batch["released_at"], "batch", "Batch released", details)
        yield released.at, last_step_before(record, released.at) + 1, EntryRank.BEFORE, released


def _warnings_polls_and_holds(record: PayoutRecord) -> Iterator[RankedEntry]:
    payout = record.payout
    if payout["duplicate_of"] is not None:
        # A later payout of the same load: the duplicate was found when this one was retried.
        retried = [row for row in record.transitions if row["from_status"] == "failed"]
        retry = retried[0] if retried and payout["duplicate_of"] > payout["id"] else None
        at, step = (retry["created_at"], retry["sequence"]) if retry else (payout["requested_at"], 1)
        warning = duplicate_warning(payout["duplicate_of"])
        details = {"code": warning["code"], "payoutId": public_id(PAYOUT, payout["duplicate_of"])}
        if payout["duplicate_reason"]:
            details["reason"] = payout["duplicate_reason"]
        yield at, step, EntryRank.AFTER, TimelineEntry(at, "warning", warning["message"], details)
    if payout["polled_at"] is not None:
        times = payout["polls"]
        title = f"Paystream polled{f', {times} times so far in this status' if times > 1 else ''}"
        polled = TimelineEntry(payout["polled_at"], "poll", title, {"times": times} if times else {})
        yield polled.at, last_step_before(record, polled.at), EntryRank.AFTER, polled
    if payout["held_at"] is not None:
        hold = TimelineEntry(
            payout["held_at"], "hold", f"On hold: {payout['held_reason']}", {"reason": payout["held_reason"]}
        )
        yield hold.at, last_step_before(record, hold.at), EntryRank.AFTER, hold
