"""Which tests run in one process: those of one running system, or else those of one file.

A group is known where tests are collected, in the processes of xdist; the process that hands them out reads it from a
file. (The marker `xdist_group` of pytest-xdist 3.8 does nothing with pytest 9.2.)
"""

import json
import os
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest
from xdist.scheduler import LoadScopeScheduling

TESTS = Path(__file__).parents[1]
SYSTEMS = ("fast_stack", "stack")
"""The fixtures that run a whole system for a session, and the groups of the tests that use them."""
LONGEST = (
    "tests/chaos/test_short_run.py",
    "tests/acceptance/test_restore.py",
    "tests/acceptance/test_failpoints.py",
    "tests/acceptance/test_rolling_restart.py",
    "tests/acceptance/test_outages.py",
    "tests/acceptance/test_old_and_new_code.py",
    "tests/acceptance/test_thousand_payouts.py",
    "tests/integration/test_model.py",
    "tests/integration/local/test_local_stack.py",
)
"""Files that take longest of those that use no shared system, the longest first."""


def file_of(nodeid: str) -> str:
    return nodeid.partition("::")[0]


def groups_of(items: list[pytest.Item]) -> dict[str, str]:
    """The group of each file: the running system that any of its tests uses, or the file itself."""
    fixtures: dict[str, set[str]] = defaultdict(set)
    for item in items:
        fixtures[file_of(item.nodeid)] |= set(getattr(item, "fixturenames", ()))
    return {file: _group(file, names) for file, names in fixtures.items()}


def _group(file: str, fixtures: set[str]) -> str:
    if file.startswith("tests/integration/"):  # where `stack` is another fixture
        return file
    return next((system for system in SYSTEMS if system in fixtures), file)


def rank(group: str) -> int:
    """The place of a group: the longest first, or a process would wait at the end for a long group in another one."""
    first = (*SYSTEMS, *LONGEST)
    return first.index(group) if group in first else len(first)


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Hands out whole groups, in the order in which their tests were collected."""

    groups: Mapping[str, str] | None = None

    def _split_scope(self, nodeid: str) -> str:
        """The group of a test. The first call is after the collection."""
        if self.groups is None:
            self.groups = json.loads(groups_file(os.getpid()).read_text())
        return self.groups[file_of(nodeid)]


def groups_file(scheduler_pid: int) -> Path:
    """Where the processes that collect tests hand the groups to the one that schedules them."""
    return Path(tempfile.gettempdir()) / f"pytest-groups-{scheduler_pid}.json"


def write_groups(path: Path, groups: Mapping[str, str]) -> None:
    """Write the groups at once: every process writes the same ones."""
    unfinished = path.with_suffix(f".{os.getpid()}")
    unfinished.write_text(json.dumps(groups))
    unfinished.rename(path)
