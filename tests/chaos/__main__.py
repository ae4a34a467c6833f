"""`python -m tests.chaos`: run one seed, many seeds, or the negative controls."""

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import controls, report
from tests.chaos.plan import make_plan
from tests.chaos.run import RECOVERED_SECONDS, Result, run_chaos

_VIOLATIONS_SHOWN = 12
_CONTROL_SEEDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 1 if a violation was found, or a control was not detected."""
    options = _parser().parse_args(arguments)
    if options.controls:
        return _controls(options)
    results = []
    for seed in range(options.seed, options.seed + options.seeds):
        result = run_seed(seed, options, options.without)
        results.append(result)
        _print_outcome(result, options)
    print()
    for line in report.summary_lines(results):
        print(line)
    return 0 if all(result.is_good for result in results) else 1


def run_seed(seed: int, options: argparse.Namespace, without: str) -> Result:
    """Run a seed in a folder that is kept if it found a violation."""
    plan = make_plan(seed, options.seconds)
    if not options.quiet:
        print("\n".join(plan.table()), flush=True)
    with _home(seed, without) as home, _line() as line:
        result = run_chaos(plan, home, line.report, without=without, within_seconds=options.within)
        if result.is_good or without:
            shutil.rmtree(home)
        return result


def _controls(options: argparse.Namespace) -> int:
    """Remove each safeguard in turn; a run without it must find a violation."""
    lines, detected_all = [], True
    for safeguard in options.without.split(",") if options.without else controls.CONTROLS:
        for seed in range(options.seed, options.seed + _CONTROL_SEEDS):
            result = run_seed(seed, options, safeguard)
            if not result.is_good:
                doubled = f" ({len(result.outcome.doubled)} paid twice)" if result.outcome.doubled else ""
                first = result.outcome.violations[0][:150]
                lines.append(f"without {safeguard:<17} detected at seed {seed}{doubled}: {first}")
                break
        else:
            detected_all = False
            lines.append(f"without {safeguard:<17} NOT DETECTED within {_CONTROL_SEEDS} seeds")
        print(lines[-1], flush=True)
    print("\n" + "\n".join(lines))
    return 0 if detected_all else 1


def _print_outcome(result: Result, options: argparse.Namespace) -> None:
    outcome, seed = result.outcome, result.plan.seed
    if result.is_good:
        print(
            f"seed {seed}: GOOD. {outcome.accepted} payouts accepted, {outcome.paid} paid, none lost, none doubled; "
            f"all had ended {result.recovery_seconds:.1f} s after the healing ({result.seconds:.0f} s in all)",
            flush=True,
        )
        return
    print(
        f"seed {seed}: {len(outcome.violations)} VIOLATIONS, {len(outcome.lost)} lost, {len(outcome.doubled)} doubled"
    )
    for found in outcome.violations[:_VIOLATIONS_SHOWN]:
        print(f"  {found}")
    if len(outcome.violations) > _VIOLATIONS_SHOWN:
        print(f"  … and {len(outcome.violations) - _VIOLATIONS_SHOWN} more")
    print(f"  again: make chaos SEED={seed} SECONDS={options.seconds}", flush=True)


@contextmanager
def _home(seed: int, without: str) -> Iterator[Path]:
    """Make a folder for the run; print its path if it is kept."""
    home = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-{without}"))
    try:
        yield home
    finally:
        if home.exists():
            print(f"logs are kept in {home / 'logs'}", flush=True)


class _ProgressLine:
    """A progress line, overwritten on a terminal; elsewhere every fifth is printed."""

    def __init__(self) -> None:
        self._reported = 0
        self._over = sys.stdout.isatty()

    def report(self, text: str) -> None:
        if self._over:
            print(f"\r\x1b[2K{text[:110]}", end="", flush=True)
        elif self._reported % 5 == 0:
            print(f"  {text}", flush=True)
        self._reported += 1


@contextmanager
def _line() -> Iterator[_ProgressLine]:
    line = _ProgressLine()
    try:
        yield line
    finally:
        if line._over:
            print("\r\x1b[2K", end="", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.chaos",
        description="Inject the faults of a seeded plan into the system under load, heal it, and check that no payout"
        " is lost or paid twice.",
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, help="seed of the plan, or of the first of several (default %(default)s)")
    add("--seeds", type=int, default=1, help="number of seeds, run one after the other (default %(default)s)")
    add("--seconds", type=int, default=60, help="duration of the faults (default %(default)s)")
    add(
        "--within",
        type=float,
        default=RECOVERED_SECONDS,
        help="seconds until all work must have ended (default %(default)s)",
    )
    add("--without", default="", help=f"remove a safeguard: {', '.join(controls.CONTROLS)}")
    add(
        "--controls",
        action="store_true",
        help=f"remove each safeguard in turn: a violation within {_CONTROL_SEEDS} seeds",
    )
    add("--quiet", action="store_true", help="do not print the plans")
    return parser


if __name__ == "__main__":
    # Any signal that ends this process must end the system too.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
