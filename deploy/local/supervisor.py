"""Keep a list of processes running: start them together, restart those that die, stop them in order.

One thread, asleep unless a signal arrives or a probe is due. It must be the main thread, because the kernel sends a
child its death signal when the *thread* that started the child ends.
"""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from deploy.local import ports, probes
from deploy.local.home import Home
from deploy.local.processes import ProcessIdentity, identify
from deploy.local.server import EmbeddedServerError, last_lines, open_log
from deploy.local.service import Service
from deploy.local.terminal import Terminal

_READY_TIMEOUT_SECONDS = 60.0
_MAX_DEATHS_DURING_START = 5
_FIRST_RESTART_SECONDS, _MAX_RESTART_SECONDS = 0.2, 5.0
_LONG_LIVED_SECONDS = 30.0
_STOP_PATIENCE_SECONDS, _HURRIED_PATIENCE_SECONDS = 10.0, 2.0
_PROBE_INTERVAL_SECONDS = 0.05
_HOME_CHECK_SECONDS = 2.0
_SHOWN_LOG_LINES = 20


class StartFailed(Exception):
    """A service did not become ready; the last line of the message names it and the cause."""


class PortLost(StartFailed):
    """Another process listens on a port that was free when it was chosen: the start can be repeated with another."""


class Stopped(Exception):
    """Stop requested: Ctrl-C, `down`, a closed terminal, or a deleted home."""


class Child:
    """A service and its current process."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.process: subprocess.Popen[bytes] | None = None
        self.identity: ProcessIdentity | None = None
        self.is_ready = False
        self.output_fd: int | None = None
        self.deaths = 0
        self.restart_delay_seconds = _FIRST_RESTART_SECONDS
        self.started_at = 0.0
        self.restart_at = 0.0


class Supervisor:
    """Run services in three calls: `start()` until all are ready, `watch()` until a stop is requested, `stop()`.

    Services start in the order of the list, those with a `prepare` step last (the others load their code meanwhile),
    and stop in the reverse order. `on_change` is called after each change of a pid or a state.
    """

    def __init__(
        self, services: Sequence[Service], home: Home, terminal: Terminal, on_change: Callable[[], object]
    ) -> None:
        self.children = [Child(service) for service in services]
        self._home = home
        self._terminal = terminal
        self._on_change = on_change
        self._is_starting = True
        self._stop_requests: list[str] = []
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)

    def listen_to_signals(self) -> None:
        """Install handlers for the stop signals and SIGCHLD; SIGHUP stays ignored if the caller ignores it (nohup)."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # its arrival wakes the loop
        signal.set_wakeup_fd(self._wake_writer, warn_on_full_buffer=False)

    def start(self) -> None:
        """Start everything and return when all are ready. Raises StartFailed, PortLost or Stopped."""
        deadline = time.monotonic() + _READY_TIMEOUT_SECONDS
        for child in sorted(self.children, key=lambda child: child.service.prepare is not None):
            self._spawn(child)
        while waiting := [child for child in self.children if not child.is_ready]:
            if time.monotonic() > deadline:
                self._fail(waiting[0], f"is not ready after {_READY_TIMEOUT_SECONDS:g} s")
            self._tick()
        self._is_starting = False

    def watch(self) -> None:
        """Restart what dies, until Stopped is raised."""
        while True:
            self._tick()

    def stop(self) -> None:
        """Stop all in reverse order, each with its process group; a second stop request hurries it.

        During a failed start the services have no work to finish: they are stopped together, then the servers.
        """
        if self._is_starting:
            self._stop_together([child for child in self.children if child.service.prepare is None])
        for child in reversed(self.children):
            if child.process is not None:
                self._stop_gracefully(child, child.process)
            if child.service.close:
                child.service.close()

    def _stop_together(self, children: Sequence[Child]) -> None:
        running = [(child, child.process) for child in children if child.process is not None]
        for child, process in running:
            process.send_signal(child.service.stop_signal)
        deadline = time.monotonic() + _HURRIED_PATIENCE_SECONDS
        while any(process.poll() is None for _, process in running) and time.monotonic() < deadline:
            self._sleep(0.05)
        for child, _ in running:
            self._reap(child)
            self._terminal.step(f"{child.service.name} stopped", "quiet")

    def _stop_gracefully(self, child: Child, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + _STOP_PATIENCE_SECONDS
        process.send_signal(child.service.stop_signal)
        is_hurried = False
        while process.poll() is None and time.monotonic() < deadline:
            if not is_hurried and len(self._stop_requests) > 1:
                process.send_signal(child.service.hurry_signal)
                is_hurried, deadline = True, time.monotonic() + _HURRIED_PATIENCE_SECONDS
            self._sleep(0.1)
        if process.poll() is None:
            self._terminal.step(f"{child.service.name} did not stop in time: killed", "bad")
            process.kill()
        self._reap(child)
        self._terminal.step(f"{child.service.name} stopped", "quiet")

    def _tick(self) -> None:
        now = time.monotonic()
        timeout_seconds = _HOME_CHECK_SECONDS
        for child in self.children:
            if child.process is None and not child.is_ready:
                timeout_seconds = min(timeout_seconds, max(0.0, child.restart_at - now))
            elif not child.is_ready:
                timeout_seconds = min(timeout_seconds, _PROBE_INTERVAL_SECONDS)
        self._sleep(timeout_seconds)
        if self._stop_requests:
            raise Stopped(self._stop_requests[0])
        if not self._home.is_still_there():
            raise Stopped(f"{self._home.path} was deleted")
        for child in self.children:
            self._supervise(child)

    def _supervise(self, child: Child) -> None:
        if child.process is None:
            if not child.is_ready and time.monotonic() >= child.restart_at:
                self._spawn(child)
            return
        exit_code = child.process.poll()
        if exit_code is not None and child.service.on_output:
            self._finish_job(child, exit_code)
        elif exit_code is not None:
            self._reap(child)
            how = f"was killed by {_signal_name(-exit_code)}" if exit_code < 0 else f"ended (exit code {exit_code})"
            self._plan_restart(child, how)
        elif not child.is_ready and not child.service.on_output:
            self._probe(child, child.process.pid)

    def _probe(self, child: Child, pid: int) -> None:
        if probes.is_ready(child.service.probe, pid):
            child.is_ready = True
            again = " again" if child.deaths else ""
            self._terminal.step(f"{child.service.name:<10} ready{again}  {child.service.url}", "good")
            self._on_change()

    def _spawn(self, child: Child) -> None:
        service = child.service
        try:
            if service.prepare:
                service.prepare()
            with contextlib.ExitStack() as stack:
                log = stack.enter_context(open_log(self._home.log_path(service.name)))
                if service.on_output:
                    child.output_fd = _unnamed_file(self._home)
                child.process = subprocess.Popen(
                    service.command,
                    cwd=service.working_dir,
                    env=service.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log if child.output_fd is None else child.output_fd,
                    stderr=log,
                    start_new_session=True,
                )
        except (OSError, EmbeddedServerError) as error:
            if self._is_starting:
                raise StartFailed(f"{service.name} can't be started: {error}") from error
            self._plan_restart(child, f"can't be started ({error})")
            return
        child.identity = identify(child.process.pid)
        child.started_at = time.monotonic()
        self._on_change()

    def _plan_restart(self, child: Child, how: str) -> None:
        child.deaths += 1
        if self._is_starting:
            for host, number in child.service.ports:
                if ports.is_taken(host, number):
                    raise PortLost(f"{child.service.name} lost port {number} to another process during the start")
        if self._is_starting and child.deaths >= _MAX_DEATHS_DURING_START:
            self._fail(child, f"{how}, for the {child.deaths}th time during the start")
        if child.started_at and time.monotonic() - child.started_at > _LONG_LIVED_SECONDS:
            child.restart_delay_seconds = _FIRST_RESTART_SECONDS
        delay_seconds = child.restart_delay_seconds
        child.restart_delay_seconds = min(2 * delay_seconds, _MAX_RESTART_SECONDS)
        child.restart_at = time.monotonic() + delay_seconds
        self._terminal.step(f"{child.service.name} {how}: restart in {delay_seconds:g} s", "bad")
        self._on_change()

    def _finish_job(self, child: Child, exit_code: int) -> None:
        output = os.pread(child.output_fd, 1_000_000, 0).decode() if child.output_fd is not None else ""
        self._reap(child)
        if exit_code != 0 or child.service.on_output is None:
            self._fail(child, f"ended with exit code {exit_code}")
        try:
            child.service.on_output(output)
        except ValueError as error:
            self._fail(child, str(error))
        child.is_ready = True
        self._terminal.step(f"{child.service.name:<10} done", "good")
        self._on_change()

    def _reap(self, child: Child) -> None:
        """Reap a process and kill what it leaves in its group, which would keep its port."""
        if child.process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.process.pid, signal.SIGKILL)
        child.process.wait()
        # The identity stays until there is a new one: stack.json names every service at any time.
        child.process, child.is_ready = None, False
        if child.output_fd is not None:
            os.close(child.output_fd)
            child.output_fd = None
        if child.service.cleanup:
            child.service.cleanup()

    def _fail(self, child: Child, what: str) -> NoReturn:
        path = self._home.log_path(child.service.name)
        end = last_lines(path, _SHOWN_LOG_LINES)
        cause = end.rpartition("\n")[2].strip()
        raise StartFailed(f"The end of {path}:\n{end}\n\n{child.service.name} {what}: {cause}")

    def _sleep(self, seconds: float) -> None:
        if select.select([self._wake_reader], [], [], seconds)[0]:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_reader, 512)

    def _on_stop_signal(self, number: int, _: FrameType | None) -> None:
        # A closing terminal sends SIGHUP twice, by the kernel and by its shell: not a second request.
        if number == signal.SIGHUP and self._stop_requests:
            return
        self._stop_requests.append(_signal_name(number))


def _unnamed_file(home: Home) -> int:
    """Open a file that only this process and the child can read: a job prints keys, which must reach no log."""
    path = home.path / ".job.out"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
    path.unlink()
    return fd


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
