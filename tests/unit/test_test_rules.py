"""The rules of the tests themselves: what a test module may import, and how it waits."""

import ast
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

from tests.support.ports import free_ports

TESTS = Path(__file__).parents[1]
TIERS = ("unit", "integration", "contract", "acceptance", "chaos", "pooler", "benchmarks")
TESTED_FROM_UNIT = {"tests.benchmarks.report"}
"""Code of another tier that unit tests test."""
MAY_SLEEP = {
    "support/polling.py": "the one helper that waits for a condition",
    "support/webhook_receiver.py": "a receiver that answers slowly",
    "support/client_load.py": "a client that waits as long as Retry-After says",
    "integration/test_outgoing_holds.py": "a provider that answers slowly",
}
"""Modules that call `time.sleep`, and why; benchmarks measure over time, and may."""


@cache
def modules() -> dict[str, Path]:
    return {".".join(["tests", *path.relative_to(TESTS).with_suffix("").parts]): path for path in TESTS.rglob("*.py")}


def imports(path: Path) -> set[str]:
    """The modules of the tests that a file imports."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in modules() else node.module for name in names}
    return {name for name in found if name.partition(".")[0] == "tests"}


def test_no_module_imports_a_test_module_or_a_conftest() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, path in modules().items()
        for other in imports(path)
        if other.rpartition(".")[2].startswith("test_") or other.endswith("conftest")
    ]
    assert wrong == []


def test_helpers_that_several_tiers_use_are_in_support() -> None:
    tiers = defaultdict(set)
    for name, path in modules().items():
        for other in imports(path) - TESTED_FROM_UNIT:
            tiers[other].add(name.split(".")[1])
    foreign = {other: used for other, used in tiers.items() if used - {other.split(".")[1]}}
    assert {other: used for other, used in foreign.items() if not other.startswith("tests.support")} == {}


def test_support_imports_no_tier() -> None:
    wrong = [
        f"{name} imports {other}"
        for name, path in modules().items()
        if name.startswith("tests.support.")
        for other in imports(path)
        if other.split(".")[1] in TIERS
    ]
    assert wrong == []


def test_only_the_polling_helper_sleeps_while_it_waits() -> None:
    sleeping = set()
    for path in modules().values():
        name = path.relative_to(TESTS).as_posix()
        if name.startswith("benchmarks/"):
            continue
        tree = ast.parse(path.read_text())
        calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
        if any(ast.unparse(call) in ("time.sleep", "sleep") for call in calls):
            sleeping.add(name)
    assert sleeping == set(MAY_SLEEP)


IGNORES = """
import signal, subprocess, sys
from tests.support.signals import catch_ignored_signals
child = "import signal as s; print(*(s.getsignal(one) is s.SIG_IGN for one in (s.SIGINT, s.SIGHUP)))"
print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout.strip())
catch_ignored_signals()
print(subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True).stdout.strip())
"""


def test_children_have_default_signals_also_under_nohup() -> None:
    command = ["sh", "-c", 'trap "" INT HUP; exec "$0" -c "$1"', sys.executable, IGNORES]
    done = subprocess.run(command, cwd=TESTS.parent, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["True True", "False False"]


def test_free_ports_are_different_and_not_those_of_outgoing_connections() -> None:
    found = free_ports(20)
    assert len(set(found)) == 20
    assert max(found) < 32_768
