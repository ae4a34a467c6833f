"""In which order a timeline tells its events.

By their times. What one transaction did has one time, and there the order is that of cause and effect: the history row
that it belongs to (its step), then the place within that (`EntryRank`). Nor does a step come before what led to it,
where
two workers read their clocks in another order than they got the payout's lock.
"""

import enum
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from shared.payouts.lifecycle import EDGES
from shared.payouts.timeline.records import PayoutRecord, RecordRow
from shared.schema.ledger import TransferKind
from shared.schema.payouts import PayoutStatus

_CLOSE: Final = timedelta(seconds=5)
"""How much later than its consequence a cause may be recorded."""


class TimelineEntry(NamedTuple):
    """One thing that happened."""

    at: datetime
    kind: str
    title: str
    """One sentence."""
    details: dict[str, Any]


class EntryRank(enum.IntEnum):
    """The order of what belongs to one step."""

    BEFORE = 0
    STEP = 1
    TRANSFER = 2
    TOLD = 3
    SENT = 4
    ANSWER = 5
    AFTER = 6


RankedEntry = tuple[datetime, int, EntryRank, TimelineEntry]


def sort_entries(record: PayoutRecord, placed: Iterable[RankedEntry]) -> list[TimelineEntry]:
    """The events as they are told."""
    times = _times_of_steps(record)

    def key(one: RankedEntry) -> tuple[datetime, int, EntryRank]:
        at, step, place, _ = one
        bound = place is not EntryRank.AFTER and step in times
        return (max(at, times[step]) if bound else at), step, place

    return [event for *_, event in sorted(placed, key=key)]


def step_of_transfer(record: PayoutRecord, transfer: RecordRow) -> int:
    """The step that moved the money: an instant payout takes several at one time."""
    kind = TransferKind(transfer["kind"])
    steps = [
        row["sequence"]
        for row in record.transitions
        if row["created_at"] == transfer["created_at"]
        and (kind is TransferKind.RESERVE if row["from_status"] is None else kind in _moved_by(row))
    ]
    return min(steps, default=last_step_before(record, transfer["created_at"]))


def _moved_by(row: RecordRow) -> tuple[TransferKind, ...]:
    return EDGES[PayoutStatus(row["from_status"]), PayoutStatus(row["to_status"])].transfers


def last_step_before(record: PayoutRecord, moment: datetime) -> int:
    """The last step taken before then."""
    return max((row["sequence"] for row in record.transitions if row["created_at"] < moment), default=0)


def _times_of_steps(record: PayoutRecord) -> dict[int, datetime]:
    """When each step was taken: not before the step before it, nor before Paystream's answer where that was close."""
    answers = {row["attempt"]: row["answered_at"] for row in record.submissions if not row["dissolved"]}
    times: dict[int, datetime] = {}
    for row in sorted(record.transitions, key=lambda row: row["sequence"]):
        at, before = row["created_at"], times.get(row["sequence"] - 1)
        answered_at = answers.get(row["attempt"]) if row["from_status"] == "processing" else None
        if answered_at is not None and answered_at - at < _CLOSE:
            at = max(at, answered_at)
        times[row["sequence"]] = max(at, before) if before else at
    return times
