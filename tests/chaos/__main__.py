"""`python -m tests.chaos`: one seed, many seeds, or the controls that have to be caught."""

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
from tests.chaos.run import RECOVERED_SECONDS, Result, run

_SHOWN_BREAKS = 12
_CONTROL_SEEDS = 5


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 where everything is as it should be, 1 where a break was found (or a control was not caught)."""
    options = _parser().parse_args(arguments)
    if options.controls:
        return _controls(options)
    results = []
    for seed in range(options.seed, options.seed + options.seeds):
        result = one(seed, options, options.without)
        results.append(result)
        _say_verdict(result, options)
    print()
    for line in report.summary(results):
        print(line)
    return 0 if all(result.is_good for result in results) else 1


def one(seed: int, options: argparse.Namespace, without: str) -> Result:
    """A run in a folder that is kept where it found a break."""
    plan = make_plan(seed, options.seconds)
    if not options.quiet:
        print("\n".join(plan.table()), flush=True)
    with _home(seed, without) as home, _line() as line:
        result = run(plan, home, line.tell, without=without, within_seconds=options.within)
        if result.is_good or without:
            shutil.rmtree(home)
        return result


def _controls(options: argparse.Namespace) -> int:
    """Each safeguard is switched off, and has to be missed."""
    lines, caught_all = [], True
    for safeguard in options.without.split(",") if options.without else controls.CONTROLS:
        for seed in range(options.seed, options.seed + _CONTROL_SEEDS):
            result = one(seed, options, safeguard)
            if not result.is_good:
                doubled = f" ({len(result.verdict.doubled)} paid twice)" if result.verdict.doubled else ""
                first = result.verdict.breaks[0][:150]
                lines.append(f"without {safeguard:<17} caught at seed {seed}{doubled}: {first}")
                break
        else:
            caught_all = False
            lines.append(f"without {safeguard:<17} NOT CAUGHT within {_CONTROL_SEEDS} seeds")
        print(lines[-1], flush=True)
    print("\n" + "\n".join(lines))
    return 0 if caught_all else 1


def _say_verdict(result: Result, options: argparse.Namespace) -> None:
    verdict, seed = result.verdict, result.plan.seed
    if result.is_good:
        print(
            f"seed {seed}: GOOD. {verdict.accepted} payouts accepted, {verdict.paid} paid, none lost, none doubled; "
            f"all had ended {result.recovery_seconds:.1f} s after the healing ({result.seconds:.0f} s in all)",
            flush=True,
        )
        return
    print(f"seed {seed}: {len(verdict.breaks)} BREAKS, {len(verdict.lost)} lost, {len(verdict.doubled)} doubled")
    for found in verdict.breaks[:_SHOWN_BREAKS]:
        print(f"  {found}")
    if len(verdict.breaks) > _SHOWN_BREAKS:
        print(f"  … and {len(verdict.breaks) - _SHOWN_BREAKS} more")
    print(f"  again: make chaos SEED={seed} SECONDS={options.seconds}", flush=True)


@contextmanager
def _home(seed: int, without: str) -> Iterator[Path]:
    """A folder for the run; where something is wrong it is kept, and told."""
    home = Path(tempfile.mkdtemp(prefix=f"chaos-{seed}-{without}"))
    try:
        yield home
    finally:
        if home.exists():
            print(f"logs are kept in {home / 'logs'}", flush=True)


class _Line:
    """One line that is written over on a terminal; elsewhere, every fifth."""

    def __init__(self) -> None:
        self._told = 0
        self._over = sys.stdout.isatty()

    def tell(self, text: str) -> None:
        if self._over:
            print(f"\r\x1b[2K{text[:110]}", end="", flush=True)
        elif self._told % 5 == 0:
            print(f"  {text}", flush=True)
        self._told += 1


@contextmanager
def _line() -> Iterator[_Line]:
    line = _Line()
    try:
        yield line
    finally:
        if line._over:
            print("\r\x1b[2K", end="", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.chaos",
        description="A seeded plan breaks the whole system under load; then all heals, and every payout has to be"
        " there, and paid once or not at all.",
    )
    add = parser.add_argument
    add("--seed", type=int, default=1, help="which plan, or the first of several (default %(default)s)")
    add("--seeds", type=int, default=1, help="how many, one after the other (default %(default)s)")
    add("--seconds", type=int, default=60, help="how long things break (default %(default)s)")
    add("--within", type=float, default=RECOVERED_SECONDS, help="seconds within which all ends (default %(default)s)")
    add("--without", default="", help=f"switch a safeguard off: {', '.join(controls.CONTROLS)}")
    add("--controls", action="store_true", help=f"each safeguard off in turn: a break within {_CONTROL_SEEDS} seeds")
    add("--quiet", action="store_true", help="don't print the plans")
    return parser


if __name__ == "__main__":
    # Whoever ends us, by whichever signal, ends the system too.
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
