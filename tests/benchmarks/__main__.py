"""`python -m tests.benchmarks`: run the benchmarks, print the table, write bench.json and the charts."""

import argparse
import json
import logging
import signal
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

import structlog
from rich.console import Console

from tests.benchmarks import machine, pictures
from tests.benchmarks.bench import Bench, Line
from tests.benchmarks.catalogue import LINES, YARDSTICKS
from tests.benchmarks.report import Report

_DESCRIPTION = """Benchmark OVN Pay on this machine, beside yardsticks on the same Postgres and Redis. Without options
it takes hours, because it fills a wallet with 5,000,000 payouts; --quick only checks that it works."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Return the exit code: 1 if a benchmark failed or, with --strict, missed a goal."""
    options = _parser().parse_args(arguments)
    if options.list:
        for line in LINES.values():
            print(f"{line.name:10} {line.what}")
        return 0
    # A yardstick runs the intake in this process: its logs are not wanted here.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a terminated run prints its table too
    report = Report(machine.facts(), quick=options.quick)
    bench = Bench(report, YARDSTICKS, options.profile)
    try:
        for line in options.only:
            _measure(bench, line)
    except KeyboardInterrupt:
        report.failures[bench.line] = "interrupted"
    finally:
        bench.line = ""
        bench.say("stops")
        bench.close()
    _tell(report, options.json, options.pictures)
    return 1 if report.failures or (options.strict and report.missed) else 0


def _measure(bench: Bench, line: Line) -> None:
    bench.line = line.name
    bench.say(line.what)
    try:
        line.measure(bench)
    except Exception as error:  # the other benchmarks still run
        traceback.print_exc()
        bench.report.failures[line.name] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        bench.close()


def _tell(report: Report, json_path: Path, pictures_folder: Path) -> None:
    console = Console(width=None if sys.stdout.isatty() else 170)
    console.print(report.table())
    for name, texts in report.texts.items():
        for text in texts:
            console.print(f"[bold]{name}[/] {text}", highlight=False)
    for name, why in report.failures.items():
        console.print(f"[red]{name} was not measured:[/] {why}", highlight=False)
    json_path.write_text(json.dumps(report.as_json(), indent=1) + "\n")
    drawn = pictures.draw(report.curves, pictures_folder)
    console.print(f"{json_path}; {len(drawn)} pictures in {pictures_folder}/", highlight=False)
    if report.curves and not drawn:
        console.print("No pictures: matplotlib is not installed (`make bench` installs it)")
    durable = report.machine.get("postgres", {})
    console.print(
        f"{report.machine['cores']} cores, {report.machine['processor']}, "
        f"load average before {report.machine['load_average_before']}, "
        f"fsync {durable.get('fsync', '?')}, synchronous_commit {durable.get('synchronous_commit', '?')}, "
        f"load by {report.machine['load_generator']}",
        highlight=False,
    )
    console.print(report.summary(), style="bold", highlight=False)


def _lines(text: str) -> list[Line]:
    names = [name.strip().upper() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in LINES:
            raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(LINES)}")
    return [line for name, line in LINES.items() if name in names]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.benchmarks", description=_DESCRIPTION)
    add = parser.add_argument
    add("--only", type=_lines, default=list(LINES.values()), metavar="B1,B4", help="these lines alone (see --list)")
    add("--quick", action="store_true", help="in small, in minutes: to see that it works")
    add("--json", type=Path, default=Path("bench.json"), help="where the figures go (default: %(default)s)")
    add("--pictures", type=Path, default=Path("bench"), help="the folder of the PNGs (default: %(default)s)")
    profile = Path("bench", "profile")
    add("--profile", type=Path, nargs="?", const=profile, help=f"py-spy's view of each line (default: {profile})")
    add("--strict", action="store_true", help="exit with 1 where a goal is missed")
    add("--list", action="store_true", help="say which lines there are")
    return parser


if __name__ == "__main__":
    sys.exit(main())
