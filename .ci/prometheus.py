"""Where Prometheus and its promtool are: on the path, or as Debian packages them, unpacked beside our environment.

They are Go programs, which no Python package carries. The package is unpacked and not installed: nothing starts.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_UNPACKED = Path(sys.prefix) / ".prometheus"
_NETWORK_SECONDS = 120


def find(program: str) -> Path | None:
    """The path of `prometheus` or `promtool`; None where it can't be had, and stderr has the reason."""
    if on_path := shutil.which(program):
        return Path(on_path)
    path = _UNPACKED / "usr" / "bin" / program
    if not path.exists():
        try:
            _fetch()
        except (OSError, subprocess.SubprocessError) as error:
            said = getattr(error, "stderr", None) or str(error)
            print(f"{program}: not on the path, and not to be had: {said.strip().splitlines()[-1]}", file=sys.stderr)
            return None
    return path


def _fetch() -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            _run("apt-get", "download", "prometheus", folder=folder)
        except subprocess.CalledProcessError:  # a list of packages that is missing, or old
            _run("apt-get", "update", folder=folder)
            _run("apt-get", "download", "prometheus", folder=folder)
        [package] = Path(folder).glob("prometheus_*.deb")
        unfinished = _UNPACKED.with_suffix(".unfinished")
        _run("dpkg-deb", "-x", str(package), str(unfinished), folder=folder)
        unfinished.rename(_UNPACKED)


def _run(*command: str, folder: str) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=_NETWORK_SECONDS)
