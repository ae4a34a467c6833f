"""Load: requests over keep-alive connections as fast as possible, without pipelining.

wrk where it is installed, our own generator (`storm`) where it is not; both are given the same templates, so both send
the same bytes. In a template every `MARK` is replaced by a number that no other request of any run has.
"""

import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

from tests.benchmarks.storm import MARK, Load, storm
from tests.support.raw_http import request

_SCRIPT = Path(__file__).with_name("wrk.lua")
WRK = shutil.which("wrk")
JSON_TYPE = ("Content-Type", b"application/json")


def generator() -> str:
    """The generator that is used."""
    return "bundled" if WRK is None else "wrk"


class Aim(NamedTuple):
    """URL and requests."""

    url: str
    templates: Sequence[bytes]
    """Sent in turn."""


def template(method: str, path: str, headers: dict[str, str], body: Any) -> bytes:
    """Return the bytes of a request; `MARK.decode()` stands for the number, which has the same length."""
    listed = [(name, value.encode()) for name, value in headers.items()]
    return request(method, path.encode(), listed, json.dumps(body).encode())


_last = 0


def numbers() -> Iterator[bytes]:
    """Unique numbers: microseconds since 1970, which no server is faster than."""
    global _last
    while True:
        _last = max(_last + 1, time.time_ns() // 1000)
        yield b"%016d" % _last


def requests_of(templates: Sequence[bytes]) -> Iterator[bytes]:
    """Yield requests without end."""
    for number, one in zip(numbers(), cycle(templates), strict=False):
        yield one.replace(MARK, number)


def fire(aim: Aim, connections: int, seconds: float, *, bundled: bool = False) -> Load:
    """Send requests for that time; `bundled` uses the own generator even if wrk is installed."""
    if WRK is None or bundled:
        return storm(aim.url, requests_of(aim.templates), connections, seconds)
    with tempfile.NamedTemporaryFile(prefix="ovnpay-bench-") as file:
        for one in aim.templates:
            file.write(b"%d\n" % len(one) + one)
        file.flush()
        options = ["-t", "1", "-c", str(connections), "-d", f"{max(round(seconds), 1)}s", "--timeout", "30s"]
        done = subprocess.run(
            [WRK, *options, "-s", str(_SCRIPT), aim.url, "--", file.name, MARK.decode(), next(numbers()).decode()],
            capture_output=True,
            text=True,
            check=True,
        )
    told = json.loads(done.stdout.strip().splitlines()[-1])
    curve = [(float(percent), micros / 1000) for percent, micros in told["percentiles"]]
    return Load("wrk", told["seconds"], told["answers"], told["refused"], curve)
