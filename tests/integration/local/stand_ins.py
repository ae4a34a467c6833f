"""Helpers for tests of a local stack: a stack of stand-ins in its own folder."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deploy.local import processes
from deploy.local.home import MARK_VARIABLE
from tests.support.polling import until

_STAND_IN_STACK = Path(__file__).with_name("stand_in_stack.py")
PROJECT = Path(__file__).resolve().parents[3]


class StandInStack:
    """One `up` at a time in one home, as a process whose printed lines can be read."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self._output = folder / "output"
        self._process: subprocess.Popen[bytes] | None = None
        # Nothing of the developer's own stack may reach this one.
        own = {name: value for name, value in os.environ.items() if not name.startswith(("OVNPAY_", "STAND_IN_"))}
        self._environment = {**own, "OVNPAY_HOME": str(self.home), "PYTHONPATH": str(PROJECT)}

    def launch(self, environment: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start `up` and return at once."""
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(_STAND_IN_STACK)],
                env={**self._environment, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._process

    def up(self, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Start `up` and wait until it is ready; what stack.json says."""
        process = self.launch(environment)
        until(lambda: process.poll() is not None or "stops it." in self.printed(), "the stack becomes ready")
        assert process.poll() is None, self.printed()
        return self.read()

    def read(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.home / "stack.json").read_text())
        return content

    def printed(self) -> str:
        return self._output.read_text()

    def journal(self) -> list[str]:
        return (self.home / "journal").read_text().splitlines()

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m deploy.local …` for this home."""
        command = [sys.executable, "-m", "deploy.local", *arguments]
        return subprocess.run(
            command, env=self._environment, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=60
        )

    def launched(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def delete_home(self) -> None:
        shutil.rmtree(self.home)

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        """Send the parent a signal and wait for its end; its exit code."""
        self.launched().send_signal(number)
        return self.launched().wait(30)

    def processes(self) -> list[processes.ProcessIdentity]:
        """Everything that runs for this home, the parent excepted."""
        servers = processes.serving(self.home / "postgres" / "cluster", "postgres")
        servers += processes.serving(self.home / "valkey", "valkey-server")
        return servers + processes.marked(MARK_VARIABLE, str(self.home))

    def close(self) -> None:
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.end(signal.SIGTERM)
            self._process.kill()
            self._process.wait()
        processes.stop(self.processes(), signal.SIGKILL, 5.0)


def copy_postgres(template: Path, target: Path) -> Path:
    """A data folder from a stopped server's, owners included: a tenth of the time of a set-up."""
    target.parent.mkdir(exist_ok=True)
    subprocess.run(["cp", "-a", str(template), str(target)], check=True)
    return target
