"""Services forked from one process that has loaded their code: a fork takes 0.01 s, a new Python 1 s.

`python -m tests.acceptance.forked_services` reads JSON lines: `{"service", "environment", "log"}` forks and prints the
pid, `{"wait": pid}` prints the exit code.
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


def run_worker() -> None:
    """Run a worker process as Dramatiq does, with OVNPAY_WORKERS_THREADS threads."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    broker = workers.app.setup_worker()
    threads = int(os.environ["OVNPAY_WORKERS_THREADS"])
    worker = dramatiq.Worker(broker, worker_threads=threads)  # type: ignore[no-untyped-call]
    worker.start()  # type: ignore[no-untyped-call]
    signal.sigwait({signal.SIGTERM})
    worker.stop()  # type: ignore[no-untyped-call]


SERVICES: dict[str, Callable[[], object]] = {
    "gateway": lambda: gateway.__main__.main([]),
    "workers": run_worker,
    "scheduler": lambda: scheduler.__main__.main([]),
}


def run_service(service: str, environment: dict[str, str], log: str) -> None:
    """Turn this process into the service; return when it stops."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for number in (1, 2):
        os.dup2(output, number)
    os.environ.clear()
    os.environ.update(environment)
    failpoints.arm_failpoint(environment.get(failpoints.FAILPOINT_VARIABLE, ""))
    SERVICES[service]()


def main() -> None:
    """Serve requests until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                try:
                    run_service(**request)
                finally:
                    os._exit(1 if sys.exc_info()[0] else 0)
        print(answer, flush=True)


if __name__ == "__main__":
    main()
