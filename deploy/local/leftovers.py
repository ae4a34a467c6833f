"""What did a killed parent leave running, and how is it stopped before the next start?

On Linux the kernel ends the children of a killed parent; this is for what that misses: a child of a child, another
system, a parent killed in the instant between a child's birth and its request for the death signal. Nothing is
stopped that isn't provably this home's: it carries our mark, it works in our data folder, or its pid and start time
were written down by our parent.
"""

import signal
from typing import Any

from deploy.local import processes
from deploy.local.home import MARK_VARIABLE, Home
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.processes import ProcessIdentity
from deploy.local.valkey import EmbeddedValkey

_ANY_PORT = 1  # these objects start nothing
_PATIENCE_SECONDS = 10.0


def stop_leftovers(home: Home) -> list[int]:
    """Stop all that runs for this home without a parent, servers last. Returns the pids; raises TimeoutError.

    The caller holds the home, or has made sure that its parent is dead.
    """
    recorded = recorded_processes(home.read_run())
    recorded.pop("stack", None)
    servers = [
        EmbeddedValkey(home.path / EmbeddedValkey.name, _ANY_PORT),
        EmbeddedPostgres(home.path / EmbeddedPostgres.name, _ANY_PORT),
    ]
    of_servers = {server.name: recorded.pop(server.name, None) for server in servers}
    services = {*processes.marked(MARK_VARIABLE, str(home.path)), *recorded.values()}
    stopped = _stop([process for process in services if processes.is_alive(process)], signal.SIGTERM)
    for server in servers:
        process = of_servers[server.name]
        if process and processes.is_alive(process):
            stopped += _stop([process], server.stop_signal)
        stopped += server.stop_leftovers()
    return stopped


def recorded_processes(run: dict[str, Any]) -> dict[str, ProcessIdentity]:
    """The processes in run.json, "stack" (the parent) among them, alive or not."""
    rows = run.get("processes", {})
    return {name: ProcessIdentity(row["pid"], row["started"]) for name, row in rows.items()}


def _stop(what: list[ProcessIdentity], first_signal: signal.Signals) -> list[int]:
    processes.stop(what, first_signal, _PATIENCE_SECONDS)
    return [process.pid for process in what]
