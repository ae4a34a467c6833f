"""How a child is started so that it dies with its parent and, where needed, runs as another user.

The work is done by util-linux's `setpriv`, which sets up the process and then becomes the program, so the pid
stays the child's. A Linux without it (Alpine's is too small) gets `setpriv.py` beside this file. We do not use
`preexec_fn`: Python code between fork and exec may deadlock in a parent that has threads, and tests have them.
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
    """Whom a child runs as."""

    uid: int
    gid: int


def launch_prefix(death_signal: signal.Signals, run_as: User | None = None) -> list[str]:
    """What to put before a command so that the kernel sends `death_signal` when the caller's process dies.

    `run_as` also changes the user, keeping of root's powers only the one to pass folders closed to that user:
    the project may live under /root. Systems other than Linux have no death signal; they get no prefix.
    """
    if sys.platform != "linux":
        return []
    options = []
    if run_as:
        options += ["--reuid", str(run_as.uid), "--regid", str(run_as.gid), "--clear-groups"]
        options += ["--inh-caps", "+dac_override", "--ambient-caps", "+dac_override"]
        # Without this, access(2) answers as if the lent power were not there, and PostgreSQL looks for its own
        # programs with access(2): a virtual environment below a closed folder would be "not found".
        options += ["--securebits", "+no_setuid_fixup"]
    # The signal comes when the *thread* that started the child ends, so only the main thread may ask for it.
    if threading.current_thread() is threading.main_thread():
        options += ["--pdeathsig", death_signal.name.removeprefix("SIG")]
    return [*_setpriv(), *options, "--"] if options else []


def can_run_as_another() -> bool:
    """Whether this root has the capabilities for `run_as`; a container's may have been taken away."""
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
