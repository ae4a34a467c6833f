"""Find and stop what a killed parent left running.

On Linux the kernel ends the children of a killed parent; this covers the rest: grandchildren, other systems, a parent
killed before the child requested its death signal. A process is stopped only if it belongs to this home: by its
environment, its working directory, or the pid and start time in run.json.
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
    """Stop the processes of this home that have no parent, servers last; return their pids. Raises TimeoutError.

    The caller has locked the home, or knows that its parent is dead.
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
    """Return the processes in run.json by name, alive or not; "stack" is the parent."""
    rows = run.get("processes", {})
    return {name: ProcessIdentity(row["pid"], row["started"]) for name, row in rows.items()}


def _stop(what: list[ProcessIdentity], first_signal: signal.Signals) -> list[int]:
    processes.stop(what, first_signal, _PATIENCE_SECONDS)
    return [process.pid for process in what]
