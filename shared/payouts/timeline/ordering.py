"""The order of timeline entries.

By time, then by transition (step), then by rank within it: one transaction writes all its entries with one time. A step
never precedes its cause, even if two workers' clocks disagree.
"""

import enum
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from shared.payouts.lifecycle import EDGES
from shared.payouts.timeline.records import PayoutRecord, RecordRow
from shared.schema.ledger import TransferKind
from shared.schema.payouts import PayoutStatus

_CLOCK_SKEW: Final = timedelta(seconds=5)
"""How much later than its effect a cause may be recorded."""


class TimelineEntry(NamedTuple):
    """One event of a payout."""

    at: datetime
    kind: str
    title: str
    """One sentence."""
    details: dict[str, Any]


class EntryRank(enum.IntEnum):
    """The order within one step."""

    BEFORE = 0
    STEP = 1
    TRANSFER = 2
    EVENT = 3
    SENT = 4
    ANSWER = 5
    AFTER = 6


RankedEntry = tuple[datetime, int, EntryRank, TimelineEntry]


def sort_entries(record: PayoutRecord, entries: Iterable[RankedEntry]) -> list[TimelineEntry]:
    """Sort entries, oldest first."""
    times = _step_times(record)

    def key(entry: RankedEntry) -> tuple[datetime, int, EntryRank]:
        at, step, rank, _ = entry
        bound = rank is not EntryRank.AFTER and step in times
        return (max(at, times[step]) if bound else at), step, rank

    return [entry for *_, entry in sorted(entries, key=key)]


def step_of_transfer(record: PayoutRecord, transfer: RecordRow) -> int:
    """The step that posted a transfer: an instant payout takes several steps at one time."""
    kind = TransferKind(transfer["kind"])
    steps = [
        row["sequence"]
        for row in record.transitions
        if row["created_at"] == transfer["created_at"]
        and (kind is TransferKind.RESERVE if row["from_status"] is None else kind in _transfer_kinds(row))
    ]
    return min(steps, default=last_step_before(record, transfer["created_at"]))


def _transfer_kinds(row: RecordRow) -> tuple[TransferKind, ...]:
    return EDGES[PayoutStatus(row["from_status"]), PayoutStatus(row["to_status"])].transfers


def last_step_before(record: PayoutRecord, moment: datetime) -> int:
    """The sequence of the last step before then, or 0."""
    return max((row["sequence"] for row in record.transitions if row["created_at"] < moment), default=0)


def _step_times(record: PayoutRecord) -> dict[int, datetime]:
    """When each step was taken: not before the previous step, nor shortly before the response that led to it."""
    answers = {row["attempt"]: row["answered_at"] for row in record.submissions if not row["dissolved"]}
    times: dict[int, datetime] = {}
    for row in sorted(record.transitions, key=lambda row: row["sequence"]):
        at, before = row["created_at"], times.get(row["sequence"] - 1)
        answered_at = answers.get(row["attempt"]) if row["from_status"] == "processing" else None
        if answered_at is not None and answered_at - at < _CLOCK_SKEW:
            at = max(at, answered_at)
        times[row["sequence"]] = max(at, before) if before else at
    return times
