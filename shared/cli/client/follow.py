"""Watches batches until they are finished."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from shared.cli.client.api import ApiClient, Json
from shared.cli.client.output import Output

FIRST_PAUSE_SECONDS: Final = 0.5
PAUSE_SECONDS_MAX: Final = 5.0
"""Longest pause for each batch; it leaves most of the 100 requests a minute to other programs."""
LONG_PAUSE_SECONDS: Final = 30.0
LONG_AFTER_SECONDS: Final = 300.0
"""Standard payouts take days: after this time of watching, pauses grow to LONG_PAUSE_SECONDS."""
OPEN_STATUSES: Final = ("validated", "queued", "processing")


class BatchesState(NamedTuple):
    """The latest state of the batches."""

    batches: list[Json]

    @property
    def counts(self) -> Counter[str]:
        """Payouts by status."""
        return sum((Counter(batch.get("countsByStatus") or {}) for batch in self.batches), Counter[str]())

    @property
    def is_finished(self) -> bool:
        """Whether every batch is finished."""
        return all(is_batch_finished(batch) for batch in self.batches)


def is_batch_finished(batch: Json) -> bool:
    """Return whether a batch has ended or waits for a person."""
    if "failure" in batch or batch["status"] == "canceled" or is_waiting_for_release(batch):
        return True
    return batch["status"] != "queued" and not any(batch["countsByStatus"].get(status) for status in OPEN_STATUSES)


def is_waiting_for_release(batch: Json) -> bool:
    """Return whether a batch is queued without a time."""
    return batch["status"] == "queued" and batch.get("scheduledFor") is None


async def follow_batches(api: ApiClient, batch_ids: Sequence[str], out: Output) -> BatchesState:
    """Show progress until the batches are finished."""
    pause_seconds, watched_seconds = FIRST_PAUSE_SECONDS, 0.0
    last_line = ""
    with _progress_bar(out) as bar:
        task = bar.add_task("payouts", total=None)
        while True:
            state = BatchesState([await api.get_batch(batch_id) for batch_id in batch_ids])
            counts = state.counts
            done = counts.total() - sum(counts[status] for status in OPEN_STATUSES)
            description = _describe_progress(state)
            bar.update(task, total=counts.total(), completed=done, description=description)
            if not bar.live.is_started and (line := f"{done:,} of {counts.total():,}: {description}") != last_line:
                last_line = line
                out.info(line)
            if state.is_finished:
                return state
            await api.sleep(pause_seconds * len(batch_ids))
            watched_seconds += pause_seconds
            pause_seconds_max = LONG_PAUSE_SECONDS if watched_seconds > LONG_AFTER_SECONDS else PAUSE_SECONDS_MAX
            pause_seconds = min(pause_seconds * 1.4, pause_seconds_max, _seconds_until_release(state))


def _describe_progress(state: BatchesState) -> str:
    counts = state.counts
    release_times = [
        batch["scheduledFor"] for batch in state.batches if batch["status"] == "queued" and batch["scheduledFor"]
    ]
    if release_times and len(release_times) == len(state.batches):
        return f"waiting until {min(release_times)}"
    names = [*OPEN_STATUSES, *(name for name in counts if name not in OPEN_STATUSES)]
    return ", ".join(f"{counts[name]:,} {name}" for name in names if counts[name]) or "no payouts"


def _seconds_until_release(state: BatchesState) -> float:
    now = datetime.now(UTC)
    left = [
        (datetime.fromisoformat(batch["scheduledFor"]) - now).total_seconds()
        for batch in state.batches
        if batch["status"] == "queued" and batch["scheduledFor"]
    ]
    return max(min(left, default=LONG_PAUSE_SECONDS) + 1.0, FIRST_PAUSE_SECONDS)


def _progress_bar(out: Output) -> Progress:
    return Progress(
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=out.progress_console,
        disable=not out.progress_console.is_terminal,
    )
