"""What the supervisor needs to know about one process."""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import deploy
from deploy.local.launch import launch_prefix
from deploy.local.server import EmbeddedServer

# Where `python -m gateway` finds our packages, whatever folder the developer called us in.
_PACKAGES = Path(deploy.__file__).parent.parent


class Service(NamedTuple):
    """One process, or with `on_output` one job that ends by itself.

    name: also the name of its log and its row in `status`.
    command, environment, working_dir: complete; nothing is added to them.
    url: where people reach it, "" if nowhere. probe: how to ask whether it is ready, see `probes`.
    stop_signal: asks it to end well. hurry_signal: asks it to end now.
    prepare: called before each start. cleanup: called after each end, for what an own process group doesn't hold.
    on_output: makes it a job. It must end with exit code 0, and what it printed is handed to this function.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    working_dir: Path
    url: str = ""
    probe: str = ""
    stop_signal: signal.Signals = signal.SIGTERM
    hurry_signal: signal.Signals = signal.SIGKILL
    prepare: Callable[[], object] | None = None
    cleanup: Callable[[], object] | None = None
    on_output: Callable[[str], object] | None = None


def python_service(
    name: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    url: str = "",
    probe: str = "",
    on_output: Callable[[str], object] | None = None,
) -> Service:
    """A Python program of ours, which gets SIGTERM when the parent dies; unbuffered, so its log is never behind."""
    return Service(
        name=name,
        command=[*launch_prefix(signal.SIGTERM), sys.executable, *arguments],
        environment={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        working_dir=_PACKAGES,
        url=url,
        probe=probe,
        on_output=on_output,
    )


def server_service(server: EmbeddedServer) -> Service:
    """An embedded server, whose data folder is prepared again before each start."""
    return Service(
        name=server.name,
        command=server.command(),
        environment=server.environment(),
        working_dir=server.working_dir,
        url=f"127.0.0.1:{server.port}",
        probe=server.probe,
        stop_signal=server.stop_signal,
        hurry_signal=signal.SIGQUIT if server.name == "postgres" else signal.SIGKILL,
        prepare=server.prepare,
        cleanup=server.stop_leftovers,
    )
