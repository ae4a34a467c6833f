"""The parent of several gateway processes: binds the socket, keeps its children serving, replaces them one by one.

It serves nothing itself. The socket is bound once and inherited, not bound by each child: with listeners of their own
(SO_REUSEPORT), the connections that wait for a child that ends would be reset.
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
"""How long a new child may take until it serves; it waits a minute for its database."""
STOP_SECONDS_MAX: Final = 12.0
"""How long a child may take to drain; then it is killed."""
RESTART_DELAY_SECONDS, RESTART_DELAY_SECONDS_MAX = 0.2, 5.0


class ChildProcess:
    """One child."""

    def __init__(self, sockets: list[socket.socket], environment: dict[str, str]) -> None:
        self.line, theirs = socket.socketpair()
        with theirs:
            inherited = InheritedSockets(theirs.fileno(), tuple(one.fileno() for one in sockets))
            self.process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "--child", str(inherited)],
                env=environment,
                pass_fds=(inherited.line, *inherited.listeners),
            )
        self.line.setblocking(False)
        self.is_ready = False
        self.started_at = time.monotonic()
        self.stop_requested_at: float | None = None

    def look(self) -> None:
        """Hears whether it serves by now."""
        with contextlib.suppress(OSError):
            self.is_ready = self.is_ready or self.line.recv(1) == READY_MESSAGE

    def stop(self) -> None:
        """Tells it to drain; kills it if it was told long ago."""
        now = time.monotonic()
        if self.stop_requested_at is None:
            self.stop_requested_at = now
            self.process.terminate()
        elif now > self.stop_requested_at + STOP_SECONDS_MAX:
            self.process.kill()


class ParentProcess:
    """Runs `gateway_processes` children until it is told to stop."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: list[ChildProcess] = []
        self._replaced: list[ChildProcess] = []
        """Those that SIGHUP asked to replace and are not yet; the first has its successor, if there is one."""
        self._successor: ChildProcess | None = None
        self._pause_seconds = RESTART_DELAY_SECONDS
        self._next_start_at = 0.0
        self._has_served = False
        self._exit_code: int | None = None
        self._signals: list[int] = []
        self._wake_reader, self._wake_writer = os.pipe()

    def run(self) -> int:
        """Serves until SIGTERM or SIGINT; returns the exit code."""
        for end in (self._wake_reader, self._wake_writer):
            os.set_blocking(end, False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda *_: None)  # its arrival is enough: it wakes the loop
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)
        try:
            sockets = open_listeners(self._settings.gateway_host, self._settings.gateway_port)
        except OSError as error:
            print(f"ovnpay gateway: can't listen: {error}", file=sys.stderr)
            return 1
        # Kept by the port: it tells gateways of one machine apart.
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
            self._bury()
            self._replace(sockets, environment)
            self._refill(sockets, environment)
            self._sleep([child.line for child in self._children if not child.is_ready])
            for child in self._children:
                child.look()
                if child.is_ready and not self._has_served:
                    logger.info("gateway.serve", processes=self._settings.gateway_processes)
                    self._has_served, self._pause_seconds = True, RESTART_DELAY_SECONDS
            while self._signals:
                if self._signals.pop(0) == signal.SIGHUP:
                    logger.info("gateway.replacing", processes=len(self._children))
                    self._replaced += [one for one in self._children if one not in self._replaced]
                else:
                    self._exit_code = 0
        # Ours first: the last child to close its own has let in whoever has come.
        for one in sockets:
            one.close()
        while self._children:
            for child in self._children:
                child.stop()
            self._sleep([])
            self._bury()
        return self._exit_code

    def _bury(self) -> None:
        """Forgets the children that have ended; one that nobody told to is missed."""
        for child in [one for one in self._children if one.process.poll() is not None]:
            self._children.remove(child)
            child.line.close()
            if child in self._replaced and child is not (self._replaced[0] if self._successor else None):
                self._replaced.remove(child)
            if child.stop_requested_at is not None:
                continue
            logger.error("gateway.process_died", pid=child.process.pid, exit_code=child.process.returncode)
            if not self._has_served:
                self._exit_code = child.process.returncode or 1  # it can't serve at all: whoever runs us should know
            self._next_start_at = time.monotonic() + self._pause_seconds
            self._pause_seconds = min(2 * self._pause_seconds, RESTART_DELAY_SECONDS_MAX)

    def _refill(self, sockets: list[socket.socket], environment: dict[str, str]) -> None:
        """Starts what is missing."""
        staying = [one for one in self._children if one.stop_requested_at is None]
        in_twos = self._successor is not None and self._replaced[0] in staying  # the old one and its successor
        missing = self._settings.gateway_processes + in_twos - len(staying)
        if missing > 0 and time.monotonic() >= self._next_start_at and self._exit_code is None:
            self._children += [ChildProcess(sockets, environment) for _ in range(missing)]

    def _replace(self, sockets: list[socket.socket], environment: dict[str, str]) -> None:
        """A step of the replacement: a successor is started, serves, and then the old one drains."""
        if not self._replaced:
            return
        old = self._replaced[0]
        if self._successor is None:
            self._successor = ChildProcess(sockets, environment)
            self._children.append(self._successor)
        elif self._successor not in self._children or time.monotonic() > self._successor.started_at + READY_SECONDS_MAX:
            # New code that does not serve: the old one goes on.
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

    def _sleep(self, lines: list[socket.socket]) -> None:
        """Until a signal comes, a child says something, or a moment has passed."""
        waiting = bool(lines or self._replaced or self._next_start_at > time.monotonic()) or self._exit_code is not None
        select.select([self._wake_reader, *(one.fileno() for one in lines)], [], [], 0.1 if waiting else 5.0)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_reader, 512)
