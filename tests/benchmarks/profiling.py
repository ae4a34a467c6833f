"""Profiles of the running services: py-spy on each Python process, pg_stat_statements on Postgres.

Each process gets a file for speedscope.app and a text of the functions that had the most time; Postgres a text of the
statements that did. py-spy needs the right to trace the processes: root, or `kernel.yama.ptrace_scope` 0.
"""

import json
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks import statements
from tests.benchmarks.system import System

RATE = 200
"""Samples per second."""
SHOWN = 40
_PYTHON = ("gateway", "workers", "scheduler", "paystream")


@contextmanager
def profiled(system: System, folder: Path) -> Iterator[None]:
    """Write profiles into the folder while the block runs.

    Raises:
        FileNotFoundError: there is no py-spy.

    """
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise FileNotFoundError("py-spy is not installed: `make bench` installs it")
    folder.mkdir(parents=True, exist_ok=True)
    spies: dict[Path, subprocess.Popen[str]] = {}
    for name in _PYTHON:
        for number, pid in enumerate(_python_processes(system, name)):
            path = folder / f"{name}-{number}.speedscope.json"
            command = [program, "record", "--pid", str(pid), "--format", "speedscope", "--rate", str(RATE)]
            command += ["--nonblocking", "--output", str(path)]
            spies[path] = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with system.database() as database:
        before = statements.so_far(database)
        yield
        (folder / "postgres.txt").write_text(statements.as_text(statements.since(database, before)))
    for spy in spies.values():
        spy.send_signal(signal.SIGINT)
    for path, spy in spies.items():
        said, _ = spy.communicate(timeout=120)
        text = path.with_name(path.name.replace(".speedscope.json", ".txt"))
        text.write_text(top(path) if path.exists() else f"py-spy wrote nothing:\n{said}")


def _python_processes(system: System, name: str) -> list[int]:
    """Return the working processes of a service; of workers without the master."""
    pids = system.pids(name)
    return pids[1:] if name == "workers" else pids[:1]


def top(speedscope: Path) -> str:
    """Return the functions with most samples: of their own, and with callees."""
    told = json.loads(speedscope.read_text())
    frames = [f"{one['name']} ({one.get('file', '?')})" for one in told["shared"]["frames"]]
    itself: Counter[str] = Counter()
    below: Counter[str] = Counter()
    whole = 0
    for profile in told["profiles"]:
        for sample in profile["samples"]:
            whole += 1
            if sample:
                itself[frames[sample[-1]]] += 1
                below.update({frames[place] for place in sample})
    lines = [f"{whole} samples of running threads", "", "in the function itself"]
    lines += [f"{100 * count / whole:6.1f} %  {name}" for name, count in itself.most_common(SHOWN)]
    lines += ["", "with what it calls"]
    lines += [f"{100 * count / whole:6.1f} %  {name}" for name, count in below.most_common(2 * SHOWN)]
    return "\n".join([*lines, ""]) if whole else "no samples\n"
