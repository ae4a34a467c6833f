"""Audit the pinned dependencies and report what could be checked.

A finding fails. A service that can't be reached is reported as NOT COVERED; it fails only with --strict, for release
pipelines.

Every pin is exact, satisfies pyproject.toml and matches what is installed; the package index has it, not yanked; and
pip-audit knows no vulnerability. pip-audit exits 0 even if it skipped every lookup, so skipped packages are counted.
"""

import argparse
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Mapping
from pathlib import Path

from pip._vendor.packaging.requirements import Requirement
from pip._vendor.packaging.utils import NormalizedName, canonicalize_name

_PROJECT = Path(__file__).resolve().parents[2]
_BENCH_LOCK = "requirements-bench.lock"  # installed by `make bench` only: may be missing
_LOCKS = ("requirements.lock", "requirements-tracing.lock", "requirements-dev.lock", _BENCH_LOCK)
_TOOL = "pip-audit==2.10.1"
_TIMEOUT_SECONDS = 60
_PIN = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.!+]+)")


def main() -> int:
    parser = argparse.ArgumentParser(description="Audit the pinned dependencies.")
    parser.add_argument("--strict", action="store_true", help="fail if a service can't be reached")
    options = parser.parse_args()
    pins, findings = _load_pins()
    findings += [*_unsatisfied(pins), *_mismatched(pins), *_conflicts()]
    print(
        f"audit: {len(pins)} pins are exact, satisfy pyproject.toml, match what is installed: {len(findings)} findings"
    )
    uncovered = 0
    for name, check in (
        ("on the index and not yanked", _find_yanked),
        ("free of known vulnerabilities", _find_vulnerable),
    ):
        try:
            covered, found = check(pins)
            reason = ""
        except (subprocess.SubprocessError, OSError, ValueError) as error:
            covered, found, reason = 0, [], f" ({_last_line(error)})"
        findings += found
        uncovered += len(pins) - covered
        missing = "" if covered == len(pins) else f"; NOT COVERED: {len(pins) - covered} pins{reason}"
        print(f"audit: {name}: {covered} of {len(pins)} pins looked up, {len(found)} findings{missing}")
    for finding in findings:
        print(f"audit: FINDING: {finding}", file=sys.stderr)
    return 1 if findings else 3 if options.strict and uncovered else 0


def _load_pins() -> tuple[dict[NormalizedName, str], list[str]]:
    pins: dict[NormalizedName, str] = {}
    findings = []
    for lock in _LOCKS:
        for line in (_PROJECT / lock).read_text().splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            pin = _PIN.fullmatch(line.strip())
            if pin is None:
                findings.append(f"{lock}: {line!r} is not name==version")
                continue
            name = canonicalize_name(pin[1])
            if pins.setdefault(name, pin[2]) != pin[2]:
                findings.append(f"{lock}: {name} is pinned twice, to {pins[name]} and to {pin[2]}")
    return pins, findings


def _unsatisfied(pins: Mapping[NormalizedName, str]) -> list[str]:
    project = tomllib.loads((_PROJECT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"].values()
    required = [*project["project"]["dependencies"], *(text for extra in extras for text in extra)]
    return [
        f"pyproject.toml requires {text}, the locks have {pins.get(canonicalize_name(Requirement(text).name), 'none')}"
        for text in (*project["build-system"]["requires"], *required)
        if not Requirement(text).specifier.contains(pins.get(canonicalize_name(Requirement(text).name), "0"), True)
    ]


def _mismatched(pins: Mapping[NormalizedName, str]) -> list[str]:
    installed = {canonicalize_name(one.metadata["Name"]): one.version for one in importlib.metadata.distributions()}
    unpinned = installed.keys() - pins.keys() - {"pip", "wheel", "ovnpay"}
    may_be_missing = {
        canonicalize_name(line.partition("==")[0]) for line in (_PROJECT / _BENCH_LOCK).read_text().splitlines()
    }
    return [
        *(
            f"{name} is pinned to {pin}, {installed.get(name, 'none')} is installed"
            for name, pin in pins.items()
            if installed.get(name) != pin and not (name in may_be_missing and name not in installed)
        ),
        *(f"{name} is installed but not pinned" for name in sorted(unpinned)),
    ]


def _conflicts() -> list[str]:
    done = subprocess.run([sys.executable, "-m", "pip", "check"], capture_output=True, text=True, check=False)
    return done.stdout.strip().splitlines() if done.returncode else []


def _find_yanked(pins: Mapping[NormalizedName, str]) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--dry-run", "--ignore-installed"]
    command += ["--no-deps", "--quiet", "--retries", "1", "--timeout", "10", "--report", "-"]
    done = subprocess.run(
        [*command, *(word for lock in _LOCKS for word in ("-r", str(_PROJECT / lock)))],
        capture_output=True,
        text=True,
        check=False,
        timeout=_TIMEOUT_SECONDS,
    )
    gone = re.search(r"No matching distribution found for (\S+)", done.stderr)
    if gone and "from versions: none" not in done.stderr:  # without any version, the index is unreachable
        return 0, [f"{gone[1]} is no longer on the index"]
    if done.returncode:
        raise ValueError(done.stderr)
    # Read the warning, not the report: the report of an older pip does not mention yanked versions.
    yanked = re.findall(r"yanked version: '([^']+)' candidate \(version (\S+)", done.stderr)
    return len(json.loads(done.stdout)["install"]), [f"{name} {version} was yanked" for name, version in yanked]


def _find_vulnerable(pins: Mapping[NormalizedName, str]) -> tuple[int, list[str]]:
    folder = Path(sys.prefix) / ".audit"
    tool = folder / "bin" / "pip-audit"
    if not tool.exists():
        venv.create(folder, with_pip=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run(
            [*install, "--retries", "1", "--timeout", "10", _TOOL],
            capture_output=True, text=True, check=True, timeout=_TIMEOUT_SECONDS,
        )  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("".join(f"{name}=={version}\n" for name, version in pins.items()))
        file.flush()
        done = subprocess.run(
            [tool, "--requirement", file.name, "--no-deps", "--disable-pip", "--format", "json", "--timeout", "5"],
            capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS,
        )  # fmt: skip
    try:
        looked_up = [one for one in json.loads(done.stdout)["dependencies"] if "skip_reason" not in one]
    except ValueError:
        raise ValueError(done.stderr) from None
    if not looked_up:
        raise ValueError("the vulnerability service has no data on any pin")
    return len(looked_up), [
        f"{one['name']} {one['version']}: {known['id']}, fixed in: {', '.join(known['fix_versions']) or 'none yet'}"
        for one in looked_up
        for known in one["vulns"]
    ]


def _last_line(error: BaseException) -> str:
    text = getattr(error, "stderr", None) or str(error)
    line = ([line for line in str(text).splitlines() if line.strip()] or ["no answer"])[-1].strip()
    return re.sub(r"\w+://\S+|host='[^']*'", "…", line)[:200]


if __name__ == "__main__":
    sys.exit(main())
