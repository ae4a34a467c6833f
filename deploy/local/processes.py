"""Find, identify and stop processes of the operating system.

A pid may be reused, so everything here works on a pid *with its start time*, and a process whose start time differs is
never signaled. Linux reads /proc; other systems use `ps` and find fewer leftovers.
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
    """A pid and the system's text for its start time."""

    pid: int
    started: str


def identify(pid: int) -> ProcessIdentity | None:
    """Return the process that has this pid now; None if there is none, or only a zombie."""
    if not _HAS_PROC:
        fields = _ps(pid, "stat=,lstart=").split(maxsplit=1)
        return ProcessIdentity(pid, fields[1]) if len(fields) == 2 and fields[0][0] != "Z" else None
    stat = _stat_fields(pid)
    return ProcessIdentity(pid, stat[19]) if stat and stat[0] not in "ZX" else None


def is_alive(process: ProcessIdentity) -> bool:
    return identify(process.pid) == process


def serving(folder: Path, executable_name: str) -> list[ProcessIdentity]:
    """Return processes of this executable whose working directory is `folder`; empty without /proc.

    PostgreSQL, its backends and Valkey run in their data folders, so this finds leftovers that were never recorded.
    """
    wanted = str(folder.resolve())
    pids = [pid for pid in _pids() if _serves(pid, wanted, executable_name)]
    return [process for pid in pids if (process := identify(pid))]


def _serves(pid: int, folder: str, executable_name: str) -> bool:
    try:
        cwd, executable = os.readlink(f"/proc/{pid}/cwd"), os.readlink(f"/proc/{pid}/exe")
        # Linux appends "(deleted)" if the virtual environment was rebuilt under a running server.
        return cwd == folder and os.path.basename(executable).removesuffix(" (deleted)") == executable_name
    except PermissionError:
        # In a container even root may be denied another user's links; the command line is readable.
        return runs(pid, executable_name) and folder in _command_line(pid)
    except OSError:  # it has ended
        return False


def runs(pid: int, executable_name: str) -> bool:
    """Whether the command line starts with this program; that of PostgreSQL's helpers does not."""
    return os.path.basename(_command_line(pid)[0]) == executable_name


def marked(variable: str, value: str) -> list[ProcessIdentity]:
    """Return processes whose environment has this variable, without the caller; empty without /proc."""
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
    """Signal these processes, wait until they end, and kill those that outlive the patience.

    Raises:
        TimeoutError: one survives SIGKILL: it hangs in the kernel, or belongs to another user.

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
    """Send a signal unless the process has ended or its pid was reused."""
    if is_alive(process):
        try:
            os.kill(process.pid, what)
        except (ProcessLookupError, PermissionError):
            return


def wait_gone(processes: Iterable[ProcessIdentity], timeout_seconds: float) -> list[ProcessIdentity]:
    """Wait until these processes end; return those that still run at the deadline."""
    deadline = time.monotonic() + timeout_seconds
    remaining = [process for process in processes if is_alive(process)]
    while remaining and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        remaining = [process for process in remaining if is_alive(process)]
    return remaining


def uptime_seconds(process: ProcessIdentity) -> float:
    """Seconds since the process started; 0 without /proc."""
    if not _HAS_PROC:
        return 0.0
    since_boot = float(Path("/proc/uptime").read_text().split()[0])
    return max(0.0, since_boot - int(process.started) / os.sysconf("SC_CLK_TCK"))


def resident_bytes(root: ProcessIdentity, *, with_descendants: bool = True) -> int:
    """Memory of a process and its descendants; their largest shared block counts once."""
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
        # PostgreSQL's buffers appear in every backend: the largest view estimates the block.
        shared_kib = max(shared_kib, sizes.get("RssShmem", 0))
    return (own_kib + shared_kib) * 1024


def _pids() -> Iterator[int]:
    if _HAS_PROC:
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())


def _stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat: [0] state, [1] parent pid, [19] start time in clock ticks since boot."""
    try:
        # The name in parentheses may contain parentheses: split after the last one.
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
