"""`ovnpay down`: stop the system of a home, with or without its parent."""

import signal

from deploy.local import processes
from deploy.local.home import Home
from deploy.local.leftovers import recorded_processes, stop_leftovers
from deploy.local.terminal import Terminal

# Eight processes with ten seconds each: only a hanging parent takes longer.
_PATIENCE_SECONDS = 80.0


def down(home: Home) -> int:
    """Ask the parent to stop and wait until everything has ended; return the exit code."""
    terminal = Terminal()
    parent = recorded_processes(home.read_run()).get("stack")
    if parent and processes.is_alive(parent):
        processes.send(parent, signal.SIGTERM)
        if not processes.wait_gone([parent], _PATIENCE_SECONDS):
            terminal.line(f"OVN Pay in {home.path} is stopped", "good")
            return 0
        terminal.line(f"the parent (pid {parent.pid}) does not answer: killed", "bad")
        processes.stop([parent], signal.SIGKILL, patience_seconds=5.0)
    if home.path.exists() and not home.take():
        terminal.line(f"another `ovnpay up` has just started in {home.path}", "bad")
        return 1
    stopped = stop_leftovers(home) if home.path.exists() else []
    home.forget_run()
    home.release()
    what = f"stopped {len(stopped)} processes that a killed run left behind" if stopped else "nothing runs"
    terminal.line(f"{what} in {home.path}")
    return 0
