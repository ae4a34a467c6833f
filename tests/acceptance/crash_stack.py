"""A system whose services start one by one, each as its own process or forked to die at a failpoint."""

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import redis

from deploy.local import probes
from deploy.local.home import Home
from deploy.local.plan import make_plan
from deploy.local.service import Service
from shared.platform.failpoints import FAILPOINT_VARIABLE
from shared.platform.settings import Settings
from shared.platform.settings_loading import load_settings
from shared.platform.task_queue import Task, TaskSender
from tests.support.customer import Customer
from tests.support.http_client import Answer
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import NO_RATE_LIMITS, free_port_settings

PROJECT = Path(__file__).resolve().parents[2]
SERVERS = ("postgres", "valkey", "bootstrap", "paystream")
DIES_SECONDS = 10.0
SETTINGS = {
    "OVNPAY_PAYSTREAM_TIMEOUT_SECONDS": "1.0",
    "OVNPAY_LEASE_SECONDS": "3",
    "OVNPAY_WEBHOOKS_TIMEOUT_SECONDS": "1.0",
    "OVNPAY_WEBHOOKS_CONNECT_TIMEOUT_SECONDS": "1.0",
    "OVNPAY_WAKE_UP_GRACE_SECONDS": "1",
    "OVNPAY_POLL_AFTER_INSTANT_SECONDS": "1",
    "OVNPAY_POLL_AFTER_STANDARD_SECONDS": "300",  # a scenario that needs a poll enqueues it
    "OVNPAY_WORKERS_THREADS": "2",
    "OVNPAY_LOG_FORMAT": "json",
}


class CrashStack:
    """Servers and simulator that always run, and services one by one."""

    def __init__(self, home: Path) -> None:
        self.home = Home(home)
        self.home.logs.mkdir(parents=True, exist_ok=True)
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("OVNPAY_", "PAYSTREAM_"))}
        plan = make_plan(self.home, clean | free_port_settings() | NO_RATE_LIMITS | SETTINGS)
        self.services = {service.name: service for service in plan.services}
        self.description = plan.description
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._forks = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.forked_services"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def open(self) -> None:
        """Start the servers and the simulator."""
        for name in SERVERS:
            self.start(name)
        self.settings: Settings = load_settings(dict(self.services["workers"].environment))
        self.customer = Customer(self.description["gateway"], self.description["sandbox_key"])
        self.paystream = Simulator(self.description["paystream"])
        self.task_sender = TaskSender(self.settings)
        self.redis = redis.Redis.from_url(self.description["redis_url"])

    def start(self, *names: str) -> None:
        """Start services as `ovnpay up` does, and wait until they are ready."""
        for name in names:
            service = self.services[name]
            if service.prepare:
                service.prepare()
            self._running[name] = self._spawn(service)
            if service.on_output:
                output, _ = self._running.pop(name).communicate(timeout=30)
                service.on_output(output.decode())
        for name in names:
            if (process := self._running.get(name)) is not None:
                self._until_ready(name, process.pid)

    def _spawn(self, service: Service) -> "subprocess.Popen[bytes]":
        with self.home.log_path(service.name).open("ab") as log:
            return subprocess.Popen(
                service.command,
                cwd=service.working_dir,
                env=dict(service.environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if service.on_output else log,
                stderr=log,
                start_new_session=True,
            )

    def _until_ready(self, name: str, pid: int) -> None:
        until(lambda: probes.is_ready(self.services[name].probe, pid), f"{name} is ready", 30, pause_seconds=0.02)

    def close(self) -> None:
        """Kill everything; the data is not needed."""
        if hasattr(self, "task_sender"):
            self.task_sender.close()
            self.redis.close()
        assert self._forks.stdin is not None
        assert self._forks.stdout is not None
        self._forks.stdin.close()
        self._forks.wait(10)
        self._forks.stdout.close()
        for name, process in reversed(self._running.items()):
            process.send_signal(self.services[name].hurry_signal)
            with suppress(subprocess.TimeoutExpired):
                process.wait(15)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if cleanup := self.services[name].cleanup:
                cleanup()

    @contextmanager
    def running(self, *names: str, threads: int = 4) -> Iterator[None]:
        """Run forked services while the block runs."""
        pids = {name: self._fork(name, name, {"OVNPAY_WORKERS_THREADS": str(threads)}) for name in names}
        for name in names:
            if name == "gateway":
                self._until_ready(name, pids[name])
        try:
            yield
        finally:
            for pid in pids.values():
                os.kill(pid, signal.SIGTERM)
            codes = {name: self._ended(pid) for name, pid in pids.items()}
        assert set(codes.values()) == {0}, (codes, self.logs())

    def kill_at(self, service: str, failpoint: str, act: Callable[[], object], **settings: str) -> None:
        """Start a service with a failpoint, call `act`, and assert that the service was killed there."""
        self.redis.flushall()  # drop the messages of other scenarios
        log = f"killed-{service}"
        seen = self._lines(log)
        pid = self._fork(service, log, {FAILPOINT_VARIABLE: failpoint, "OVNPAY_WORKERS_THREADS": "1", **settings})
        timeout = threading.Timer(DIES_SECONDS, os.kill, (pid, signal.SIGTERM))
        timeout.start()
        try:
            if service == "gateway":
                self._until_ready(service, pid)
            act()
            code = self._ended(pid)
        finally:
            timeout.cancel()
        lines = self._lines(log)[len(seen) :]
        expected = f"failpoint {failpoint.partition(':')[0]}: killed"
        assert (code, lines[-1:]) == (-signal.SIGKILL, [expected]), (failpoint, code, lines[-20:])

    def _fork(self, service: str, log: str, settings: dict[str, str]) -> int:
        environment = dict(self.services[service].environment) | settings
        return self._send({"service": service, "environment": environment, "log": str(self.home.log_path(log))})

    def _ended(self, pid: int) -> int:
        return self._send({"wait": pid})

    def _send(self, request: dict[str, Any]) -> int:
        assert self._forks.stdin is not None
        assert self._forks.stdout is not None
        self._forks.stdin.write(json.dumps(request) + "\n")
        self._forks.stdin.flush()
        return int(self._forks.stdout.readline())

    def _lines(self, log: str) -> list[str]:
        path = self.home.log_path(log)
        return path.read_text(errors="replace").splitlines() if path.exists() else []

    def logs(self, lines: int = 15) -> str:
        """Return the end of each log."""
        return "\n".join(
            "\n".join([f"--- {path.name}", *self._lines(path.stem)[-lines:]])
            for path in sorted(self.home.logs.glob("*.log"))
        )

    def enqueue(self, task: Task, ids: Sequence[UUID]) -> None:
        """Enqueue a task, as the services do."""
        assert ids
        self.task_sender.enqueue(task, ids)

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Run SQL; return its rows."""
        with psycopg.connect(self.description["database_url"]) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    def repeat_until_answered(self, send: Callable[[], Answer]) -> Answer:
        """Repeat a request until it has a response that is final."""

        def attempt() -> Answer | None:
            with suppress(OSError, http.client.HTTPException):
                answer = send()
                return None if answer.status in (409, 503) and "Retry-After" in answer.headers else answer
            return None

        return until(attempt, "there is a response", 20, pause_seconds=0.05)


@contextmanager
def crash_stack(home: Path) -> Iterator[CrashStack]:
    """Run a stack while the block runs."""
    stack = CrashStack(home)
    try:
        stack.open()
        yield stack
    except BaseException as error:
        error.add_note(stack.logs())
        raise
    finally:
        stack.close()
