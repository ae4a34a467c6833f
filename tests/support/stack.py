"""A running system, started by `ovnpay up`, always stopped, with no process left behind."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.http_client import call
from tests.support.polling import until
from tests.support.ports import free_ports

PROJECT = Path(__file__).resolve().parents[2]

_READY_SECONDS = 120
_STOPPED_SECONDS = 60
_STARTS_MAX = 3
_PORT_LOST = re.compile(r"port \d+ .*taken|address (already )?in use", re.IGNORECASE)
PORT_VARIABLES = (
    "OVNPAY_GATEWAY_PORT",
    "PAYSTREAM_SIM_PORT",
    "OVNPAY_POSTGRES_PORT",
    "OVNPAY_VALKEY_PORT",
    "OVNPAY_GATEWAY_METRICS_PORT",
    "OVNPAY_WORKERS_METRICS_PORT",
    "OVNPAY_SCHEDULER_METRICS_PORT",
    "OVNPAY_EXPORTER_METRICS_PORT",
)
# The tests of the rate limits set their own.
NO_RATE_LIMITS = {"OVNPAY_RATE_LIMIT_PER_MINUTE": "1000000", "OVNPAY_SIGN_IN_FAILURES_PER_MINUTE": "1000000"}

PREVIOUS_WEBHOOK_SECRET = "whsec_before_the_rotation"
FAST = {
    "PAYSTREAM_SIM_ACH_TOPUP_SECONDS": "0.1",
    "PAYSTREAM_SIM_VERIFY_SECONDS": "0.05",
    "PAYSTREAM_SIM_LIVE_VERIFY_SECONDS": "0.05",
    "PAYSTREAM_SIM_STANDARD_SECONDS": "0.1",
    "PAYSTREAM_SIM_RETURN_SECONDS": "0.1",
    "PAYSTREAM_SIM_FAULT_TIMEOUT_SECONDS": "2.0",
    "OVNPAY_PAYSTREAM_TIMEOUT_SECONDS": "1.0",
    "OVNPAY_LEASE_SECONDS": "5",
    "OVNPAY_PAYSTREAM_WEBHOOK_SECRET_PREVIOUS": PREVIOUS_WEBHOOK_SECRET,
}
"""Settings of a system that notices within seconds what takes minutes by default."""


def free_port_settings() -> dict[str, str]:
    """A free port for each process of a system."""
    return dict(zip(PORT_VARIABLES, map(str, free_ports(len(PORT_VARIABLES))), strict=True))


class Stack:
    """The contents of stack.json, read anew each time: a restarted process has a new pid."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __getitem__(self, name: str) -> Any:
        return json.loads((self.home / "stack.json").read_text())[name]

    def pid(self, process: str) -> int | None:
        """Return the pid of a process; None while it is being restarted."""
        pid = self["processes"].get(process)
        return None if pid is None else int(pid)

    def operator_environment(self) -> dict[str, str]:
        """The settings that an `ovnpay` command of an operator needs to work on this stack."""
        return {
            "OVNPAY_DATABASE_URL": self["service_database_url"],
            "OVNPAY_REDIS_URL": self["redis_url"],
            "OVNPAY_PAYSTREAM_URL": self["paystream"],
            "OVNPAY_PAYSTREAM_TEST_KEY": self["paystream_keys"]["test"],
            "OVNPAY_PAYSTREAM_LIVE_KEY": self["paystream_keys"]["live"],
            "OVNPAY_PAYSTREAM_WEBHOOK_SECRET": self["webhook_secret"],
            "OVNPAY_KEY_PEPPER": "unused here",
        }

    def output(self) -> str:
        """Return what `up` has printed."""
        return (self.home / "up.out").read_text(errors="replace")

    def logs(self, lines: int = 40) -> str:
        """Return the end of each log."""
        tails = []
        for path in sorted((self.home / "logs").glob("*.log")):
            tails += [f"--- {path.name}", *path.read_text(errors="replace").splitlines()[-lines:]]
        return "\n".join(tails)


@contextmanager
def running_stack(
    home: Path, *, command: Sequence[str] = ("-m", "deploy.local", "up"), keep: bool = False, **settings: str
) -> Iterator[Stack]:
    """Run `ovnpay up` in `home`, or another `command` of Python, with `settings` and none of the caller's environment.

    `keep` leaves the servers' data for the next run. A start that loses a port to another process is repeated.
    Raises AssertionError if the system doesn't become ready, doesn't stop at Ctrl-C, or leaves a process behind.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OVNPAY_", "PAYSTREAM_SIM_"))}
    for start in range(1, _STARTS_MAX + 1):
        environment = clean | free_port_settings() | NO_RATE_LIMITS | settings | {"OVNPAY_HOME": str(home)}
        process, stack = _start(command, environment, home), Stack(home)
        try:
            until(lambda: process.poll() is not None or _is_ready(stack), f"{home} is ready", _READY_SECONDS)  # noqa: B023
            if process.poll() is not None and start < _STARTS_MAX and _PORT_LOST.search(stack.output()):
                continue
            assert process.poll() is None, f"`up` ended with {process.returncode}:\n{stack.output()}"
            yield stack
            return
        except BaseException as error:
            error.add_note(f"{stack.output()}\n{stack.logs()}")
            raise
        finally:
            _stop(process, home, keep=keep)


def _start(command: Sequence[str], environment: Mapping[str, str], home: Path) -> "subprocess.Popen[bytes]":
    with (home / "up.out").open("wb") as output:
        return subprocess.Popen(
            [sys.executable, *command],
            cwd=PROJECT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # a Ctrl-C at pytest doesn't reach it: the fixture stops it, once
        )


def _is_ready(stack: Stack) -> bool:
    try:
        health = call(stack["gateway"], "GET", "/health")
        return bool(health.data["status"] == "healthy" and stack["sandbox_key"])
    except (OSError, KeyError, ValueError, AssertionError):
        return False


def _stop(process: subprocess.Popen[bytes], home: Path, *, keep: bool) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(_STOPPED_SECONDS)
        in_time = True
    except subprocess.TimeoutExpired:
        in_time = False
        process.kill()
        process.wait()
    left = processes_of(home)
    for servers_data in () if keep else ("postgres", "valkey"):
        shutil.rmtree(home / servers_data, ignore_errors=True)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert in_time, f"`up` didn't stop within {_STOPPED_SECONDS} s of Ctrl-C"
    assert not left, f"`up` left processes behind: {left}"


def processes_of(home: Path) -> dict[int, str]:
    """Find the processes that have `home` in their environment or command line (on Linux only)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            said = (folder / "environ").read_bytes() + (folder / "cmdline").read_bytes()
            if str(home).encode() in said and int(folder.name) != os.getpid():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue  # it ended meanwhile, or is another user's
    return found


def descendants_of(pid: int) -> list[int]:
    """Return the pids of all descendants, the children first."""
    try:
        children = [
            int(child) for task in Path(f"/proc/{pid}/task").glob("*/children") for child in task.read_text().split()
        ]
    except OSError:
        return []
    return children + [below for child in children for below in descendants_of(child)]
