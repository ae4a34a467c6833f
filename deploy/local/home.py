"""Where one stack keeps its files, and how they are written.

    lock          held by the running parent: one stack a home
    run.json      what the parent knows about its processes, for `status`, `down` and the next `up`
    stack.json    the running stack described for commands: URLs, keys, settings, pids; there only while it is ready
    secrets.json  what is made once and must stay the same: keys, the owner's login
    logs/         one file a process, and stack.log with the parent's own lines
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

# Set in every child, so that a process which outlived its parent says itself which stack it belongs to.
MARK_VARIABLE = "OVNPAY_SUPERVISED_BY"


class Home:
    """The folder of one stack: `OVNPAY_HOME`, else `.ovnpay` in the project (or folder) that we are called in."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.logs = self.path / "logs"
        self.stack_file = self.path / "stack.json"
        self._run_file = self.path / "run.json"
        self._secrets_file = self.path / "secrets.json"
        self._lock_fd: int | None = None

    @classmethod
    def find(cls, environ: Mapping[str, str]) -> "Home":
        """The home that this environment and working directory mean; it need not exist yet."""
        if given := environ.get("OVNPAY_HOME"):
            return cls(Path(given).expanduser())
        here = Path.cwd()
        project = next((folder for folder in (here, *here.parents) if (folder / "pyproject.toml").exists()), here)
        return cls(project / ".ovnpay")

    def take(self) -> bool:
        """Create the folder and become its only running parent; False when another one is. Raises OSError."""
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
        """Let the next parent in."""
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def is_still_there(self) -> bool:
        """Whether our lock is still the one in the folder: a developer may delete the folder under a running stack."""
        if self._lock_fd is None:
            return False
        try:
            return os.path.samestat(os.stat(self.path / "lock"), os.fstat(self._lock_fd))
        except OSError:
            return False

    def log_path(self, name: str) -> Path:
        """Where a process of this name writes."""
        return self.logs / f"{name}.log"

    def read_run(self) -> dict[str, Any]:
        """What the last parent wrote about its processes; empty when there is nothing (readable)."""
        return _read(self._run_file)

    def write_run(self, content: Mapping[str, Any]) -> None:
        write_private(self._run_file, json.dumps(content, indent=1))

    def read_stack(self) -> dict[str, Any]:
        """stack.json; empty when there is none."""
        return _read(self.stack_file)

    def write_stack(self, content: Mapping[str, Any]) -> None:
        write_private(self.stack_file, json.dumps(content, indent=2) + "\n")

    def forget_run(self) -> None:
        """Nothing runs any more: remove what describes it."""
        self.stack_file.unlink(missing_ok=True)
        self._run_file.unlink(missing_ok=True)

    def secrets(self) -> dict[str, Any]:
        """What was made at the first start; whatever is missing is made now and kept."""
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
        """Keep the keys and the owner that the bootstrap job printed, to be given back to it next time."""
        content = {**self.secrets(), "credentials": dict(credentials)}
        write_private(self._secrets_file, json.dumps(content, indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, mode 0600: a reader sees the old text or the new one, never half of it."""
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
