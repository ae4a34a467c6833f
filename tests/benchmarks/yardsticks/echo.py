"""(b) A bare aiohttp handler in one process that decodes and echoes the same JSON over 64 connections."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.bench import Bench
from tests.benchmarks.load import fire
from tests.benchmarks.payload import CONNECTIONS, single
from tests.benchmarks.report import Yardstick
from tests.benchmarks.storm import Load
from tests.benchmarks.system import PROJECT
from tests.benchmarks.yardsticks.ground import SERVICES


@contextmanager
def server() -> Iterator[str]:
    """Run the server; yield its URL."""
    command = [sys.executable, "-m", "tests.benchmarks.yardsticks.echo_server"]
    with subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def load(bench: Bench, *, bundled: bool = False) -> Load:
    """Send the requests of B1, with suspended services."""
    system = bench.system()
    aim = single(system)
    with system.suspended(*SERVICES), server() as url:
        fire(aim._replace(url=url), CONNECTIONS, 1, bundled=bundled)
        return fire(aim._replace(url=url), CONNECTIONS, bench.size(10, 2), bundled=bundled)


def echoed(bench: Bench) -> Yardstick:
    """Measure (b)."""
    return Yardstick("(b)", "a bare aiohttp handler that echoes the same JSON", load(bench).a_second, "/s")
