"""`python -m workers`: runs the actors under Dramatiq's own command, with our defaults."""

import argparse
import os
import sys

from shared.broker import QUEUES
from shared.process_figures import counting_folder
from shared.settings import SettingsError, load


def main(arguments: list[str] | None = None) -> int:
    """Parses the options, prepares the metrics' folder and hands over to Dramatiq."""
    parser = argparse.ArgumentParser(prog="ovnpay workers", description="Run worker processes.")
    parser.add_argument("--queues", default=",".join(QUEUES), help="comma-separated queues (default: all: %(default)s)")
    parser.add_argument("--processes", type=int, default=1, help="worker processes (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=None, help="threads in each process (default: OVNPAY_WORKERS_THREADS, 6)"
    )
    options = parser.parse_args(arguments)
    queues = [name.strip() for name in options.queues.split(",") if name.strip()]
    unknown = sorted(set(queues) - set(QUEUES))
    if unknown or options.processes < 1 or (options.threads or 1) < 1:
        parser.error(f"unknown queues {', '.join(unknown)}" if unknown else "processes and threads must be positive")
    try:
        settings = load()
        threads = options.threads or settings.workers_threads
        os.environ["OVNPAY_WORKERS_THREADS"] = str(threads)
    except SettingsError as error:
        print(f"ovnpay workers: {error}", file=sys.stderr)
        return 2
    with counting_folder(settings.metrics_folder, f"workers-{settings.workers_metrics_port}"):
        return run(queues, options.processes, threads)


def run(queues: list[str], processes: int, threads: int) -> int:
    """Runs Dramatiq's master until it is stopped; returns its exit code."""
    from dramatiq import cli

    arguments = cli.make_argument_parser().parse_args(  # type: ignore[no-untyped-call]
        [
            "workers.app:setup",
            *("--processes", str(processes), "--threads", str(threads)),
            *("--queues", *queues),
            *("--fork-function", "workers.metrics:serve"),
            *("--worker-fork-timeout", "120000", "--worker-shutdown-timeout", "30000"),
            "--skip-logging",
        ]
    )
    return int(cli.main(arguments))  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    sys.exit(main())
