"""The parent of several gateway processes: binds the socket, keeps its children serving, replaces them one by one.

It serves no requests. The socket is bound once and inherited. With a listener for each child (SO_REUSEPORT),
connections in the backlog of a child that ends would be reset.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import time
from typing import Final

import structlog

from gateway.child_processes import READY_MESSAGE, InheritedSockets, open_listeners
from shared.platform.metrics_server import MetricsServer, multiprocess_registry
from shared.platform.process_metrics import METRICS_FOLDER_VARIABLE, open_metrics_folder
from shared.platform.settings import Settings

logger = structlog.get_logger(__name__)

READY_SECONDS_MAX: Final = 90.0
"""How long a new child can take to serve; it waits a minute for its database."""
STOP_SECONDS_MAX: Final = 12.0
"""How long a child can take to drain before it is killed."""
RESTART_DELAY_SECONDS, RESTART_DELAY_SECONDS_MAX = 0.2, 5.0


class ChildProcess:
    def __init__(self, sockets: list[socket.socket], environment: dict[str, str]) -> None:
        self.channel, childs_end = socket.socketpair()
        with childs_end:
            inherited = InheritedSockets(childs_end.fileno(), tuple(one.fileno() for one in sockets))
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "--child", str(inherited)],
                env=environment,
                pass_fds=(inherited.channel, *inherited.listeners),
            )
        self.channel.setblocking(False)
        self.is_ready = False
        self.started_at = time.monotonic()
        self.stop_requested_at: float | None = None

    def check_ready(self) -> None:
        with contextlib.suppress(OSError):
            self.is_ready = self.is_ready or self.channel.recv(1) == READY_MESSAGE

    def stop(self) -> None:
        """Make it drain; kill it if it does not end in time."""
        now = time.monotonic()
        if self.stop_requested_at is None:
            self.stop_requested_at = now
            self.process.terminate()
        elif now > self.stop_requested_at + STOP_SECONDS_MAX:
            self.process.kill()


class ParentProcess:
    """Runs `gateway_processes` children until it is stopped."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: list[ChildProcess] = []
        self._replaced: list[ChildProcess] = []
        """The children still to be replaced after SIGHUP; `_successor` replaces the first."""
        self._successor: ChildProcess | None = None
        self._pause_seconds = RESTART_DELAY_SECONDS
        self._next_start_at = 0.0
        self._has_served = False
        self._exit_code: int | None = None
        self._signals: list[int] = []
        self._wake_reader, self._wake_writer = os.pipe()

    def run(self) -> int:
        for end in (self._wake_reader, self._wake_writer):
            os.set_blocking(end, False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)  # has only to interrupt the wait
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        try:
            sockets = open_listeners(self._settings.gateway_host, self._settings.gateway_port)
        except OSError as error:
            print(f"ovnpay gateway: can't listen: {error}", file=sys.stderr)
            return 1
        # Named for the port: several gateways can run on one machine.
        with open_metrics_folder(
            self._settings.metrics_folder, f"gateway-{self._settings.gateway_metrics_port}"
        ) as folder:
            port = self._settings.gateway_metrics_port
            host = self._settings.metrics_host
            exposition = MetricsServer(port, lambda: multiprocess_registry(folder), lambda: None, host=host)
            exposition.start()
            try:
                return self._watch(sockets, {**os.environ, METRICS_FOLDER_VARIABLE: str(folder)})
            finally:
                exposition.stop()

    def _watch(self, sockets: list[socket.socket], environment: dict[str, str]) -> int:
        while self._exit_code is None:
            self._remove_ended()
            self._replace(sockets, environment)
            self._start_missing(sockets, environment)
            self._wait([child.channel for child in self._children if not child.is_ready])
            for child in self._children:
                child.check_ready()
                if child.is_ready and not self._has_served:
                    logger.info("gateway.serving", processes=self._settings.gateway_processes)
                    self._has_served, self._pause_seconds = True, RESTART_DELAY_SECONDS
            while self._signals:
                if self._signals.pop(0) == signal.SIGHUP:
                    logger.info("gateway.replacing", processes=len(self._children))
                    self._replaced += [one for one in self._children if one not in self._replaced]
                else:
                    self._exit_code = 0
        # Before the children close theirs: the last of them accepts what is in the backlog.
        for one in sockets:
            one.close()
        while self._children:
            for child in self._children:
                child.stop()
            self._wait([])
            self._remove_ended()
        return self._exit_code

    def _remove_ended(self) -> None:
        """Remove the children that have ended; report those that were not stopped."""
        for child in [one for one in self._children if one.process.poll() is not None]:
            self._children.remove(child)
            child.channel.close()
            if child in self._replaced and child is not (self._replaced[0] if self._successor else None):
                self._replaced.remove(child)
            if child.stop_requested_at is not None:
                continue
            logger.error("gateway.process_died", pid=child.process.pid, exit_code=child.process.returncode)
            if not self._has_served:
                self._exit_code = child.process.returncode or 1  # it can't serve at all: end with its exit code
            self._next_start_at = time.monotonic() + self._pause_seconds
            self._pause_seconds = min(2 * self._pause_seconds, RESTART_DELAY_SECONDS_MAX)

    def _start_missing(self, sockets: list[socket.socket], environment: dict[str, str]) -> None:
        staying = [one for one in self._children if one.stop_requested_at is None]
        has_extra = self._successor is not None and self._replaced[0] in staying  # a successor beside its predecessor
        missing = self._settings.gateway_processes + has_extra - len(staying)
        if missing > 0 and time.monotonic() >= self._next_start_at and self._exit_code is None:
            self._children += [ChildProcess(sockets, environment) for _ in range(missing)]

    def _replace(self, sockets: list[socket.socket], environment: dict[str, str]) -> None:
        """Advance the replacement: start a successor, wait until it serves, then drain the old child."""
        if not self._replaced:
            return
        old = self._replaced[0]
        if self._successor is None:
            self._successor = ChildProcess(sockets, environment)
            self._children.append(self._successor)
        elif self._successor not in self._children or time.monotonic() > self._successor.started_at + READY_SECONDS_MAX:
            # The new code does not serve: keep the old child.
            logger.error("gateway.not_replaced", pid=self._successor.process.pid, kept=len(self._replaced))
            self._successor.process.kill()
            self._successor.stop_requested_at = time.monotonic()
            self._successor, self._replaced = None, []
        elif self._successor.is_ready and old in self._children:
            old.stop()
        elif self._successor.is_ready:
            logger.info("gateway.replaced", pid=old.process.pid, by=self._successor.process.pid)
            self._successor = None
            self._replaced.remove(old)

    def _wait(self, channels: list[socket.socket]) -> None:
        is_starting = bool(channels or self._replaced or self._next_start_at > time.monotonic())
        seconds = 0.1 if is_starting or self._exit_code is not None else 5.0
        select.select([self._wake_reader, *(one.fileno() for one in channels)], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reader, 512)
