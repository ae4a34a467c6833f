"""What the operating system knows about processes: who is alive, whose it is, and how to stop it.

A bare pid proves nothing: it may have been given to somebody else since it was written down. Everything here
works on a pid *with its start time*, and nothing is ever signalled whose start time no longer matches. Linux
answers from /proc; other systems are asked through `ps`, and find fewer leftovers.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

_HAS_PROC = Path("/proc/self/stat").exists()
_POLL_SECONDS = 0.02


class ProcessIdentity(NamedTuple):
    """One process, for as long as it lives: the pid and the system's own text for when it started."""

    pid: int
    started: str


def identify(pid: int) -> ProcessIdentity | None:
    """The process that has this pid now; None when there is none, or only a zombie waiting to be reaped."""
    if not _HAS_PROC:
        fields = _ps(pid, "stat=,lstart=").split(maxsplit=1)
        return ProcessIdentity(pid, fields[1]) if len(fields) == 2 and fields[0][0] != "Z" else None
    stat = _stat_fields(pid)
    return ProcessIdentity(pid, stat[19]) if stat and stat[0] not in "ZX" else None


def is_alive(process: ProcessIdentity) -> bool:
    """Whether this very process still runs (a reused pid does not count)."""
    return identify(process.pid) == process


def serving(folder: Path, executable_name: str) -> list[ProcessIdentity]:
    """Processes of this executable whose working directory is `folder`: servers of that data and no other.

    PostgreSQL and its backends change into the data directory, and we start Valkey in its own, so this finds
    what a killed parent left behind without any record of it. Empty where there is no /proc.
    """
    wanted = str(folder.resolve())
    pids = [pid for pid in _pids() if _serves(pid, wanted, executable_name)]
    return [process for pid in pids if (process := identify(pid))]


def _serves(pid: int, folder: str, executable_name: str) -> bool:
    try:
        cwd, executable = os.readlink(f"/proc/{pid}/cwd"), os.readlink(f"/proc/{pid}/exe")
        # A venv that was rebuilt under a running server leaves "(deleted)" behind the name.
        return cwd == folder and os.path.basename(executable).removesuffix(" (deleted)") == executable_name
    except PermissionError:
        # Root in a container may not look into another user's process, only read its command line.
        return runs(pid, executable_name) and folder in _command_line(pid)
    except OSError:  # gone meanwhile
        return False


def runs(pid: int, executable_name: str) -> bool:
    """Whether the command line starts with this program. PostgreSQL's helpers don't: they name their work there."""
    return os.path.basename(_command_line(pid)[0]) == executable_name


def marked(variable: str, value: str) -> list[ProcessIdentity]:
    """Processes whose environment carries this exact variable, except the caller. Empty where there is no /proc."""
    found = []
    wanted = f"{variable}={value}".encode()
    for pid in _pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if pid != os.getpid() and wanted in environment.split(b"\0"):
            found += [process] if (process := identify(pid)) else []
    return found


def stop(processes: Iterable[ProcessIdentity], first_signal: signal.Signals, patience_seconds: float) -> None:
    """Signal these processes, wait until they are gone, and kill whichever outlives the patience.

    Raises: TimeoutError when one survives even SIGKILL (it hangs inside the kernel, or belongs to someone else).
    """
    remaining = list(processes)
    for attempt, seconds in ((first_signal, patience_seconds), (signal.SIGKILL, 5.0)):
        for process in remaining:
            send(process, attempt)
        remaining = wait_gone(remaining, seconds)
        if not remaining:
            return
    raise TimeoutError(f"process {remaining[0].pid} does not end, not even by SIGKILL")


def send(process: ProcessIdentity, what: signal.Signals) -> None:
    """Send a signal to this very process; nothing happens when it is gone or its pid is someone else's by now."""
    if is_alive(process):
        try:
            os.kill(process.pid, what)
        except (ProcessLookupError, PermissionError):
            return


def wait_gone(processes: Iterable[ProcessIdentity], timeout_seconds: float) -> list[ProcessIdentity]:
    """Wait until these processes are gone; the ones that still run at the deadline are returned."""
    deadline = time.monotonic() + timeout_seconds
    remaining = [process for process in processes if is_alive(process)]
    while remaining and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        remaining = [process for process in remaining if is_alive(process)]
    return remaining


def uptime_seconds(process: ProcessIdentity) -> float:
    """How long this process has been running; 0 where the system doesn't say it in a form we read."""
    if not _HAS_PROC:
        return 0.0
    since_boot = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, since_boot - int(process.started) / os.sysconf("SC_CLK_TCK"))


def resident_bytes(root: ProcessIdentity, *, with_descendants: bool = True) -> int:
    """Memory of a process and all its descendants; pages that they share as one block are counted once."""
    if not _HAS_PROC:
        text = _ps(root.pid, "rss=")
        return int(text) * 1024 if text else 0
    children: dict[int, list[int]] = {}
    for pid in _pids() if with_descendants else ():
        if stat := _stat_fields(pid):
            children.setdefault(int(stat[1]), []).append(pid)
    own_kib, shared_kib, waiting = 0, 0, [root.pid]
    while waiting:
        pid = waiting.pop()
        waiting += children.get(pid, [])
        sizes = _status_sizes_kib(pid)
        own_kib += sizes.get("RssAnon", 0) + sizes.get("RssFile", 0)
        # PostgreSQL's buffers appear in every backend; their largest view is the best estimate of the one block.
        shared_kib = max(shared_kib, sizes.get("RssShmem", 0))
    return (own_kib + shared_kib) * 1024


def _pids() -> Iterator[int]:
    if _HAS_PROC:
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def _stat_fields(pid: int) -> list[str]:
    """/proc/PID/stat from the state on: [0] state, [1] parent, [19] start time in clock ticks since boot."""
    try:
        # The name in parentheses may itself contain spaces and parentheses: split after its last one.
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return []


def _command_line(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return [""]


def _status_sizes_kib(pid: int) -> dict[str, int]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines()
    except OSError:
        return {}
    return {line.split(":")[0]: int(line.split()[1]) for line in lines if line.endswith(" kB")}


def _ps(pid: int, columns: str) -> str:
    arguments = ["ps", "-o", columns, "-p", str(pid)]
    return subprocess.run(arguments, capture_output=True, text=True, check=False).stdout.strip()
