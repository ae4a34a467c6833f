"""`python -m workers`: runs the actors under Dramatiq's own command, with our defaults."""

import argparse
import os
import sys
from contextlib import suppress
from typing import Final

from shared.platform.process_metrics import open_metrics_folder
from shared.platform.settings import SettingsError, load_settings
from shared.platform.task_queue import QUEUES

ALIASES: Final = {
    "standard": "payouts",
    "polling": "provider_polls",
    "funding": "drivers",
    "webhooks": "customer_events",
}
"""Other names of queues, which people use."""

_EPILOG = """\
queues:
  instant          instant payouts to Paystream
  payouts          or "standard": all other payouts, checked, gathered and sent to Paystream
  provider_events  what Paystream has told us of payouts
  batches          batches whose time has come
  drivers          or "funding": drivers made known to Paystream, and top-ups
  provider_polls   or "polling": asks Paystream about payouts of which it told us nothing
  customer_events  or "webhooks": events to customers' webhooks

Each queue has to be in some pool: what no pool takes waits. Where a pool hears instant payouts and something else, a
third of its threads does nothing but instant payouts.

signals:
  TERM, INT  take nothing more, hand back what waits, finish what is under way, then end: as a rule within four
             seconds, within 35 if Paystream or a customer does not answer. What is not finished by then is taken
             over by another worker when its lease is over (OVNPAY_LEASE_SECONDS)
  HUP        the same, and then begin anew, with the code that lies on the disk now

Each process takes a connection to the database for each thread, and one more for customers' webhooks.
"""


def main(arguments: list[str] | None = None) -> int:
    """Parses the options, prepares the metrics' folder and hands over to Dramatiq."""
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
    # What Dramatiq becomes at SIGHUP, once its processes have ended.
    sys.argv = [sys.executable, "-m", "workers", *(sys.argv[1:] if arguments is None else arguments)]
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:  # those of before the SIGHUP, which nobody else waits for any more
            pass
    with open_metrics_folder(settings.metrics_folder, f"workers-{settings.workers_metrics_port}"):
        return run(list(options.queues), options.processes, threads)


def _queues(text: str) -> tuple[str, ...]:
    """The queues that somebody has named, each once."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    queues = tuple(dict.fromkeys(ALIASES.get(name, name) for name in names))
    unknown = [name for name in names if ALIASES.get(name, name) not in QUEUES]
    if unknown or not queues:
        known = ", ".join((*QUEUES, *ALIASES))
        raise argparse.ArgumentTypeError(f"there is no queue {', '.join(unknown) or 'named'}; there are {known}")
    return queues


def run(queues: list[str], processes: int, threads: int) -> int:
    """Runs Dramatiq's master until it is stopped; returns its exit code."""
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
