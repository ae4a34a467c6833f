"""Find `prometheus` and `promtool`: on the path, or unpacked from Debian's package beside the virtual environment.

No Python package ships these Go programs. The Debian package is unpacked, not installed: no service starts.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_UNPACKED = Path(sys.prefix) / ".prometheus"
_TIMEOUT_SECONDS = 120


def find_program(program: str) -> Path | None:
    """Return the path of `prometheus` or `promtool`; None, with the reason on stderr, if it can't be downloaded."""
    if on_path := shutil.which(program):
        return Path(on_path)
    path = _UNPACKED / "usr" / "bin" / program
    if not path.exists():
        try:
            _download()
        except (OSError, subprocess.SubprocessError) as error:
            reason = (getattr(error, "stderr", None) or str(error)).strip().splitlines()[-1]
            print(f"{program}: not on the path, and the Debian package is not available: {reason}", file=sys.stderr)
            return None
    return path


def _download() -> None:
    with tempfile.TemporaryDirectory() as folder:
        try:
            _run("apt-get", "download", "prometheus", folder=folder)
        except subprocess.CalledProcessError:  # the package list is missing or out of date
            _run("apt-get", "update", folder=folder)
            _run("apt-get", "download", "prometheus", folder=folder)
        [package] = Path(folder).glob("prometheus_*.deb")
        unfinished = _UNPACKED.with_suffix(".unfinished")
        _run("dpkg-deb", "-x", str(package), str(unfinished), folder=folder)
        unfinished.rename(_UNPACKED)


def _run(*command: str, folder: str) -> None:
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=_TIMEOUT_SECONDS)
