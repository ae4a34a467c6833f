"""Watching batches until their last payout has ended: politely, and without any power over them."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shared.cli.client.api import ApiClient, Json
from shared.cli.client.output import Output

FIRST_PAUSE_SECONDS: Final = 0.5
PAUSE_SECONDS_MAX: Final = 5.0
"""For each batch: together with others' requests well below 100 a minute."""
LONG_PAUSE_SECONDS: Final = 30.0
LONG_AFTER_SECONDS: Final = 300.0
"""Standard payouts take days; whoever watches that long need not see every second."""
OPEN_STATUSES: Final = ("validated", "queued", "processing")


class BatchesState(NamedTuple):
    """Batches as they were last seen."""

    batches: list[Json]

    @property
    def counts(self) -> Counter[str]:
        """Payouts by status."""
        return sum((Counter(batch.get("countsByStatus") or {}) for batch in self.batches), Counter[str]())

    @property
    def all_over(self) -> bool:
        """Whether nothing will happen any more by itself."""
        return all(is_batch_finished(batch) for batch in self.batches)


def is_batch_finished(batch: Json) -> bool:
    """Whether nothing will happen to this batch by itself: it has ended, or waits for a person."""
    if "failure" in batch or batch["status"] == "canceled" or is_waiting_for_release(batch):
        return True
    return batch["status"] != "queued" and not any(batch["countsByStatus"].get(status) for status in OPEN_STATUSES)


def is_waiting_for_release(batch: Json) -> bool:
    """Whether it waits to be released, at no time of its own."""
    return batch["status"] == "queued" and batch.get("scheduledFor") is None


async def follow_batches(api: ApiClient, batch_ids: Sequence[str], out: Output) -> BatchesState:
    """The batches once they are over. Stops watching when it is interrupted; the payouts go on."""
    pause_seconds, watched_seconds = FIRST_PAUSE_SECONDS, 0.0
    said = ""
    with _bar(out) as bar:
        task = bar.add_task("payouts", total=None)
        while True:
            state = BatchesState([await api.batch(batch_id) for batch_id in batch_ids])
            counts = state.counts
            done = counts.total() - sum(counts[status] for status in OPEN_STATUSES)
            bar.update(task, total=counts.total(), completed=done, description=_in_words(state))
            if not bar.live.is_started and (line := f"{done:,} of {counts.total():,}: {_in_words(state)}") != said:
                said = line
                out.say(line)
            if state.all_over:
                return state
            await api.sleep(pause_seconds * len(batch_ids))
            watched_seconds += pause_seconds
            max_seconds = LONG_PAUSE_SECONDS if watched_seconds > LONG_AFTER_SECONDS else PAUSE_SECONDS_MAX
            pause_seconds = min(pause_seconds * 1.4, max_seconds, _until_due(state))


def _in_words(state: BatchesState) -> str:
    counts = state.counts
    waits = [batch["scheduledFor"] for batch in state.batches if batch["status"] == "queued" and batch["scheduledFor"]]
    if waits and len(waits) == len(state.batches):
        return f"waiting for {min(waits)}"
    names = [*OPEN_STATUSES, *(name for name in counts if name not in OPEN_STATUSES)]
    return ", ".join(f"{counts[name]:,} {name}" for name in names if counts[name]) or "no payouts"


def _until_due(state: BatchesState) -> float:
    """So that a batch with a time is looked at just after it."""
    now = datetime.now(UTC)
    left = [
        (datetime.fromisoformat(batch["scheduledFor"]) - now).total_seconds()
        for batch in state.batches
        if batch["status"] == "queued" and batch["scheduledFor"]
    ]
    return max(min(left, default=LONG_PAUSE_SECONDS) + 1.0, FIRST_PAUSE_SECONDS)


def _bar(out: Output) -> Progress:
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=out.progress,
        disable=not out.progress.is_terminal,
    )
