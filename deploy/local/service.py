"""Describe a process to the supervisor: command, environment, probe, signals."""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import deploy
from deploy.local.launch import launch_prefix
from deploy.local.server import EmbeddedServer

# Where `python -m gateway` finds the packages, whatever the working directory of the caller.
_PACKAGES = Path(deploy.__file__).parent.parent


class Service(NamedTuple):
    """One process, or with `on_output` one job that ends by itself.

    name: also the name of its log and its row in `status`.
    command, environment, working_dir: complete; nothing is added to them.
    url: its address, "" if it has none. probe: how to check whether it is ready, see `probes`.
    ports: (host, port) of each listener; tells a lost port from another failure during the start.
    stop_signal: graceful. hurry_signal: immediate.
    prepare: called before each start. cleanup: called after each end, for processes outside of its process group.
    close: called once, when the supervisor has stopped everything.
    on_output: makes it a job: it must end with exit code 0, and its output is passed to this function.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    working_dir: Path
    url: str = ""
    probe: str = ""
    ports: Sequence[tuple[str, int]] = ()
    stop_signal: signal.Signals = signal.SIGTERM
    hurry_signal: signal.Signals = signal.SIGKILL
    prepare: Callable[[], object] | None = None
    cleanup: Callable[[], object] | None = None
    close: Callable[[], object] | None = None
    on_output: Callable[[str], object] | None = None


def python_service(
    name: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    *,
    url: str = "",
    probe: str = "",
    ports: Sequence[tuple[str, int]] = (),
    on_output: Callable[[str], object] | None = None,
) -> Service:
    """Describe a Python service: it gets SIGTERM when the parent dies, and its log is unbuffered."""
    return Service(
        name=name,
        command=[*launch_prefix(signal.SIGTERM), sys.executable, *arguments],
        environment={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        working_dir=_PACKAGES,
        url=url,
        probe=probe,
        ports=ports,
        on_output=on_output,
    )


def server_service(server: EmbeddedServer) -> Service:
    """Describe an embedded server, whose data folder is prepared before each start."""
    return Service(
        name=server.name,
        command=server.command(),
        environment=server.environment(),
        working_dir=server.working_dir,
        url=f"127.0.0.1:{server.port}",
        probe=server.probe,
        ports=[("127.0.0.1", server.port)],
        stop_signal=server.stop_signal,
        hurry_signal=signal.SIGQUIT if server.name == "postgres" else signal.SIGKILL,
        prepare=server.prepare,
        cleanup=server.stop_leftovers,
        close=server.stop,
    )
