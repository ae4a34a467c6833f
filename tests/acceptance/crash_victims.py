"""Victims: services of ours that are to die at a crash point, forked from one process that has loaded their code.

`python -m tests.acceptance.crash_victims` reads a line for each: what to run, in which environment, with which log. It
answers with the victim's pid and, asked to wait for that, with how it ended. A fork takes a hundredth of a second; a
Python that loads our code anew takes one.
"""

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable

import dramatiq

import gateway.__main__
import scheduler.__main__
import workers.app
from shared.platform import failpoints

PR_SET_PDEATHSIG = 1


def work() -> None:
    """A worker process as Dramatiq makes it, with as many threads as the environment says."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    broker = workers.app.setup_worker()
    threads = int(os.environ["OVNPAY_WORKERS_THREADS"])
    worker = dramatiq.Worker(broker, worker_threads=threads)  # type: ignore[no-untyped-call]
    worker.start()  # type: ignore[no-untyped-call]
    signal.sigwait({signal.SIGTERM})
    worker.stop()  # type: ignore[no-untyped-call]


SERVICES: dict[str, Callable[[], object]] = {
    "gateway": lambda: gateway.__main__.main([]),
    "workers": work,
    "scheduler": lambda: scheduler.__main__.main([]),
}


def become(service: str, environment: dict[str, str], log: str) -> None:
    """Turns this process into the service; returns when that was told to stop."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(output, number)
    os.environ.clear()
    os.environ.update(environment)
    failpoints.arm_failpoint(environment.get(failpoints.FAILPOINT_VARIABLE, ""))
    SERVICES[service]()


def main() -> None:
    """Forks as it is asked to, until nobody asks any more."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                try:
                    become(**asked)
                finally:
                    os._exit(1 if sys.exc_info()[0] else 0)
        print(answer, flush=True)


if __name__ == "__main__":
    main()
