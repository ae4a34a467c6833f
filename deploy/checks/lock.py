"""Resolve the dependencies of pyproject.toml in a clean environment and write the lock files.

Run it with the oldest supported Python (`make lock PYTHON=python3.11`), which needs the most backports: newer versions
install them without harm.
"""

import subprocess
import sys
import tempfile
import tomllib
import venv
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2]
_HEADER = """\
# Made by `make lock` (`pip freeze` of a clean environment, Python {python}): don't edit.
# {content}
"""


def main() -> None:
    project = tomllib.loads((_PROJECT / "pyproject.toml").read_text())
    runtime = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    extras = project["project"]["optional-dependencies"]
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        # `runtime` names setuptools: the one from ensurepip may be older than the one that builds the project.
        with_runtime = _install(folder, runtime)
        with_tracing = _install(folder, extras["tracing"])
        with_dev = _install(folder, extras["dev"])
        with_bench = _install(folder, extras["bench"])
    _write("requirements.lock", "Runtime, and the setuptools that builds the editable install.", with_runtime)
    text = "The extra `tracing`, on top of requirements.lock: in the image, imported only when tracing is on."
    _write("requirements-tracing.lock", text, with_tracing - with_runtime)
    text = "Lint, types and tests, on top of requirements.lock and requirements-tracing.lock."
    _write("requirements-dev.lock", text, with_dev - with_tracing)
    _write("requirements-bench.lock", "Only for `make bench`, on top of all others.", with_bench - with_dev)


def _install(folder: str, requirements: list[str]) -> set[str]:
    pip = [f"{folder}/bin/python", "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--upgrade-strategy", "only-if-needed", *requirements], check=True)
    frozen = subprocess.run([*pip, "freeze", "--all"], check=True, capture_output=True, text=True).stdout
    return {line for line in frozen.splitlines() if not line.startswith(("pip==", "wheel=="))}


def _write(name: str, content: str, lines: set[str]) -> None:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    header = _HEADER.format(python=python, content=content)
    (_PROJECT / name).write_text(header + "".join(f"{line}\n" for line in sorted(lines, key=str.lower)))


if __name__ == "__main__":
    main()
