"""The table of runs: injected faults, and the outcome of the payouts."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.chaos.run import Result

_HEADER = ("seed", "faults", "requests", "repeats", "accepted", "paid", "failed", "canceled", "lost", "doubled")


def summary_lines(results: Sequence[Result]) -> Iterator[str]:
    """Yield a line for each run, the sums, and the faults by kind."""
    yield "".join(f"{name:>10}" for name in _HEADER) + f"{'recovery':>11}  outcome"
    total: Counter[str] = Counter()
    for result in results:
        cells = _cells(result)
        total.update(dict(zip(_HEADER[1:], cells[1:], strict=True)))
        outcome = "good" if result.is_good else f"{len(result.outcome.violations)} VIOLATIONS"
        yield "".join(f"{cell:>10}" for cell in cells) + f"{result.recovery_seconds:9.1f} s  {outcome}"
    if len(results) > 1:
        longest = max(result.recovery_seconds for result in results)
        good = sum(result.is_good for result in results)
        sums = "".join(f"{total[name]:>10}" for name in _HEADER[1:])
        yield f"{'all':>10}{sums}{longest:9.1f} s  {good} of {len(results)} good"
    injected: Counter[str] = sum((result.injected for result in results), Counter())
    yield "faults by kind: " + ", ".join(f"{kind} {count}" for kind, count in injected.most_common())


def _cells(result: Result) -> tuple[int, ...]:
    outcome = result.outcome
    return (
        result.plan.seed,
        result.injected.total(),
        result.requests,
        result.repeats.total(),
        outcome.accepted,
        outcome.paid,
        outcome.statuses["failed"],
        outcome.statuses["canceled"],
        len(outcome.lost),
        len(outcome.doubled),
    )
