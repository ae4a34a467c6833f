"""Where one stack keeps its files, and how they are written.

    lock          locked by the running parent: one stack for each home
    run.json      the parent's processes, for `status`, `down` and the next `up`
    stack.json    URLs, keys, settings and pids of the running stack, for commands; exists only while it is ready
    secrets.json  keys and the owner's login, created once
    logs/         one file for each process, and stack.log with the parent's lines
    postgres/ valkey/ paystream.sqlite   the data

Every file is readable by its owner only.
"""

import contextlib
import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Set in every child: a process that outlives its parent can be matched to its stack.
MARK_VARIABLE = "OVNPAY_SUPERVISED_BY"


class Home:
    """The folder of one stack: `OVNPAY_HOME`, else `.ovnpay` in the project or working directory."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self.stack_file = self.path / "stack.json"
        self._run_file = self.path / "run.json"
        self._secrets_file = self.path / "secrets.json"
        self._lock_fd: int | None = None

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> "Home":
        if given := environ.get("OVNPAY_HOME"):
            return cls(Path(given).expanduser())
        here = Path.cwd()
        project = next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").exists()), here)
        return cls(project / ".ovnpay")

    def take(self) -> bool:
        """Create the folder and lock it; False if another parent has it locked. Raises OSError."""
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.logs.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(fd)
            return False
        self._lock_fd = fd
        return True

    def release(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def is_still_there(self) -> bool:
        """Whether the folder still has this process's lock: it may be deleted under a running stack."""
        if self._lock_fd is None:
            return False
        try:
            return os.path.samestat(os.stat(self.path / "lock"), os.fstat(self._lock_fd))
        except OSError:
            return False

    def log_path(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def read_run(self) -> dict[str, Any]:
        return _read(self._run_file)

    def write_run(self, content: Mapping[str, Any]) -> None:
        write_private(self._run_file, json.dumps(content, indent=1))

    def read_stack(self) -> dict[str, Any]:
        return _read(self.stack_file)

    def write_stack(self, content: Mapping[str, Any]) -> None:
        write_private(self.stack_file, json.dumps(content, indent=2) + "\n")

    def forget_run(self) -> None:
        self.stack_file.unlink(missing_ok=True)
        self._run_file.unlink(missing_ok=True)

    def secrets(self) -> dict[str, Any]:
        """Return the stored secrets; create those that are missing."""
        known = _read(self._secrets_file)
        made = {
            "key_pepper": os.urandom(32).hex(),
            "webhook_secret": f"whsec_{os.urandom(24).hex()}",
            "paystream_test_key": f"psk_test_{os.urandom(16).hex()}",
            "paystream_live_key": f"psk_live_{os.urandom(16).hex()}",
        }
        if made.keys() - known.keys():
            known = {**made, **known}
            write_private(self._secrets_file, json.dumps(known, indent=2) + "\n")
        return known

    def keep_credentials(self, credentials: Mapping[str, Any]) -> None:
        """Store the keys and the owner that the bootstrap job printed, for its next run."""
        content = {**self.secrets(), "credentials": dict(credentials)}
        write_private(self._secrets_file, json.dumps(content, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file atomically, with mode 0600."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    unfinished.replace(path)


def _read(path: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        content = json.loads(path.read_text())
        if isinstance(content, dict):
            return content
    return {}
