"""(c) Dramatiq and (d) Celery with empty tasks, two processes each, on the same Redis.

All tasks wait before the workers start; the clock runs from the first tenth of them to the last.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import redis

from tests.benchmarks.bench import Bench
from tests.benchmarks.report import Yardstick
from tests.benchmarks.system import PROJECT, System
from tests.benchmarks.yardsticks.ground import SERVICES

PROCESSES = 2
_URL = "OVNPAY_BENCH_REDIS_URL"
_HERE = "tests.benchmarks.yardsticks"
_PATIENCE_SECONDS = 300


def dramatiq(bench: Bench) -> Yardstick:
    """Measure (c)."""
    program = f"from {_HERE}.dramatiq_empty import nothing\nfor _ in range({{count}}): nothing.send()"
    worker = ["-m", "dramatiq", f"{_HERE}.dramatiq_empty", "--processes", str(PROCESSES), "--skip-logging"]
    rate = _drained(
        bench.system(),
        program,
        worker,
        bench.size(30_000, 3_000),
        lambda client: client.hlen("bench:empty.msgs"),
        "bench:*",
    )
    return Yardstick("(c)", f"Dramatiq, empty messages, {PROCESSES} processes", rate, "/s")


def celery(bench: Bench) -> Yardstick:
    """Measure (d)."""
    program = f"from {_HERE}.celery_empty import nothing\nfor _ in range({{count}}): nothing.delay()"
    worker = ["-m", "celery", "--app", f"{_HERE}.celery_empty", "worker", "--concurrency", str(PROCESSES)]
    worker += ["--loglevel", "ERROR", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    rate = _drained(
        bench.system(),
        program,
        worker,
        bench.size(10_000, 1_500),
        lambda client: client.llen("bench_celery") + client.hlen("unacked"),
        "bench_celery",
        "unacked*",
        "_kombu*",
    )
    return Yardstick("(d)", f"Celery, empty tasks, {PROCESSES} processes", rate, "/s")


def _drained(
    system: System, sender: str, worker: Sequence[str], count: int, left: Callable[[redis.Redis], int], *keys: str
) -> float:
    url = system.stack["redis_url"]
    environment = {**os.environ, _URL: url, "PYTHONWARNINGS": "ignore"}
    client = redis.Redis.from_url(url)
    with system.suspended(*SERVICES):
        subprocess.run([sys.executable, "-c", sender.format(count=count)], env=environment, cwd=PROJECT, check=True)
        assert left(client) >= count
        with subprocess.Popen(
            [sys.executable, *worker],
            env=environment,
            cwd=PROJECT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                rate = _rate(client, count, left, process)
            finally:
                process.terminate()
        for pattern in keys:
            for key in client.scan_iter(pattern):
                client.delete(key)
    client.close()
    return rate


def _rate(
    client: redis.Redis, count: int, left: Callable[[redis.Redis], int], process: "subprocess.Popen[bytes]"
) -> float:
    """Return the tasks per second between the first tenth and the last."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    began: tuple[float, int] | None = None
    while True:
        now, waiting = time.perf_counter(), left(client)
        if began is None and waiting <= count * 0.9:
            began = (now, waiting)
        if began is not None and waiting == 0:
            return began[1] / (now - began[0])
        assert process.poll() is None, "the workers ended"
        assert time.monotonic() < deadline, f"{waiting} still wait"
        time.sleep(0.005)
