"""Start a child that dies with its parent and, if needed, runs as another user.

util-linux's `setpriv` prepares the process and then executes the program, so the pid stays the child's. A Linux without
it (Alpine's lacks options) uses `setpriv.py`. `preexec_fn` is not an option: Python code between fork and exec may
deadlock in a parent with threads.
"""

import functools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

_CAP_DAC_OVERRIDE, _CAP_SETGID, _CAP_SETUID, _CAP_SETPCAP = 1, 6, 7, 8


class User(NamedTuple):
    """The user a child runs as."""

    uid: int
    gid: int


def launch_prefix(death_signal: signal.Signals, run_as: User | None = None) -> list[str]:
    """Return the command prefix that makes the kernel send `death_signal` when the caller's process dies.

    `run_as` also changes the user and keeps only root's capability to enter folders closed to that user, because the
    project may be below /root. Empty on systems other than Linux.
    """
    if sys.platform != "linux":
        return []
    options = []
    if run_as:
        options += ["--reuid", str(run_as.uid), "--regid", str(run_as.gid), "--clear-groups"]
        options += ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
        # Without this, access(2) ignores the capability: PostgreSQL does not find its programs below a closed folder.
        options += ["--securebits", "+no_setuid_fixup"]
    # The signal is sent when the *thread* that started the child ends, so only the main thread requests it.
    if threading.current_thread() is threading.main_thread():
        options += ["--pdeathsig", death_signal.name.removeprefix("SIG")]
    return [*_setpriv(), *options, "--"] if options else []


def can_run_as_another() -> bool:
    """Whether root has the capabilities for `run_as`; a container may lack them."""
    if sys.platform != "linux":
        return False
    lines = Path("/proc/self/status").read_text().splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    needed = sum(1 << bit for bit in (_CAP_DAC_OVERRIDE, _CAP_SETGID, _CAP_SETUID, _CAP_SETPCAP))
    return int(effective, 16) & needed == needed


@functools.cache
def _setpriv() -> tuple[str, ...]:
    folders = [*os.environ.get("PATH", "").split(":"), "/usr/bin", "/bin"]
    path = next((f"{f}/setpriv" for f in folders if f and os.access(f"{f}/setpriv", os.X_OK)), None)
    if path:
        probe = subprocess.run([path, "--help"], capture_output=True, text=True, check=False)
        if "--ambient-caps" in probe.stdout and "--pdeathsig" in probe.stdout:
            return (path,)
    return (sys.executable, "-I", "-S", str(Path(__file__).with_name("setpriv.py")))
