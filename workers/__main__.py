"""`python -m workers`: runs the actors under Dramatiq's own command, with our defaults."""

import argparse
import os
import sys
from contextlib import suppress
from typing import Final

from shared.platform.process_metrics import open_metrics_folder
from shared.platform.settings import SettingsError
from shared.platform.settings_loading import load_settings
from shared.platform.task_queue import QUEUES

ALIASES: Final = {
    "standard": "payouts",
    "polling": "provider_polls",
    "funding": "drivers",
    "webhooks": "customer_events",
}
"""Aliases of queue names."""

_EPILOG = """\
queues:
  instant          instant payouts to Paystream
  payouts          or "standard": all other payouts, checked, grouped and sent to Paystream
  provider_events  Paystream's reports on payouts
  batches          batches whose scheduled time has come
  drivers          or "funding": registration of drivers with Paystream, and top-ups
  provider_polls   or "polling": asks Paystream about payouts that it has not reported on
  customer_events  or "webhooks": events to customers' webhooks

Each queue must be in some pool, or its messages wait. A pool that consumes instant payouts and something else
reserves a third of its threads for instant payouts.

signals:
  TERM, INT  fetch nothing more, hand back what waits, finish what is in progress, then exit: usually within four
             seconds, within 35 if Paystream or a customer does not answer. Another worker takes over what is not
             finished by then, once its lease expires (OVNPAY_LEASE_SECONDS)
  HUP        the same, then restart with the code on the disk

Each process uses a database connection for each thread, and one more for customers' webhooks.
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the workers; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="ovnpay workers",
        description="Run worker processes.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--queues", type=_queues, default=QUEUES, help="queues with commas between (default: all)")
    parser.add_argument("--processes", type=int, default=1, help="worker processes (default: %(default)s)")
    parser.add_argument(
        "--threads", type=int, default=None, help="threads in each process (default: OVNPAY_WORKERS_THREADS, 6)"
    )
    options = parser.parse_args(arguments)
    if options.processes < 1 or (options.threads is not None and options.threads < 1):
        parser.error("processes and threads must be positive")
    try:
        settings = load_settings()
        threads = options.threads or settings.workers_threads
        os.environ["OVNPAY_WORKERS_THREADS"] = str(threads)
    except SettingsError as error:
        print(f"ovnpay workers: {error}", file=sys.stderr)
        return 2
    # The command that Dramatiq executes after a SIGHUP, once its processes have ended.
    sys.argv = [sys.executable, "-m", "workers", *(sys.argv[1:] if arguments is None else arguments)]
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:  # reap the processes from before a SIGHUP
            pass
    with open_metrics_folder(settings.metrics_folder, f"workers-{settings.workers_metrics_port}"):
        return run(list(options.queues), options.processes, threads)


def _queues(text: str) -> tuple[str, ...]:
    """Parse queue names, with aliases; each queue once."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    queues = tuple(dict.fromkeys(ALIASES.get(name, name) for name in names))
    unknown = [name for name in names if ALIASES.get(name, name) not in QUEUES]
    if unknown or not queues:
        known = ", ".join((*QUEUES, *ALIASES))
        raise argparse.ArgumentTypeError(
            f"unknown queue: {', '.join(unknown)}; the queues are {known}"
            if unknown
            else f"no queue named; the queues are {known}"
        )
    return queues


def run(queues: list[str], processes: int, threads: int) -> int:
    """Run Dramatiq's master process until it is stopped; return its exit code."""
    from dramatiq import cli

    arguments = cli.make_argument_parser().parse_args(  # type: ignore[no-untyped-call]
        [
            "workers.app:setup_worker",
            *("--processes", str(processes), "--threads", str(threads)),
            *("--queues", *queues),
            *("--fork-function", "workers.metrics:serve_metrics"),
            *("--worker-fork-timeout", "120000", "--worker-shutdown-timeout", "30000"),
            "--skip-logging",
        ]
    )
    return int(cli.main(arguments))  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    sys.exit(main())
