"""Crash points: each is named once in the code, each two side effects have one between them, and it kills at once."""

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

from shared.platform.failpoints import FAILPOINT_VARIABLE, FAILPOINTS
from tests.unit.side_effects import Gap, gaps, module, modules, points_in

_READS = "a comparison only reads the provider's record; one that died is made again when its claim is over"
_NOTHING_CLAIMED = "the first claim has taken nothing, or there would be no second"

EXCEPTIONS = {
    Gap("scheduler/jobs.py", "_ring_for", "commit", "commit"): "a claim that found nothing due has changed nothing",
    Gap("scheduler/jobs.py", "fold_analytics", "commit", "commit"): (
        "each fold is whole, and the sums say how far they go: the next round goes on from there"
    ),
    Gap("scheduler/jobs.py", "forget", "commit", "commit"): (
        "each deletes what is over by its own time; what is left goes next time"
    ),
    Gap("gateway/handlers/sandbox.py", "seed", "enqueue", "answer"): (
        "play money on play drivers: a repeat leaves what is there alone, and each row is due by itself"
    ),
    Gap(
        "gateway/app_state.py", "run", "enqueue", "commit"
    ): "the same: seeding registers the drivers and rings, then pays them",
    Gap("scheduler/jobs.py", "check_invariants", "commit", "commit"): (
        "a law that was taken and not proved is taken again after its lease; what was found is frozen as it is recorded"
    ),
    Gap("scheduler/jobs.py", "reconcile", "commit", "commit"): _READS,
    Gap("scheduler/jobs.py", "reconcile", "call", "commit"): _READS,
    Gap("workers/payouts.py", "_submit", "call", "commit"): "only where a test has switched write-ahead off",
    Gap("workers/submissions.py", "claimed_again", "enqueue", "commit"): _NOTHING_CLAIMED,
    Gap("workers/submissions.py", "claimed_again", "commit", "commit"): _NOTHING_CLAIMED,
}
"""What follows one another with no point between, and why that may be."""


def test_every_two_side_effects_have_a_point_between_them() -> None:
    """Or are among the exceptions; and none of those is out of date."""
    found = gaps(modules())
    assert {str(gap) for gap in found - EXCEPTIONS.keys()} == set(), "put a crash point between these"
    assert {str(gap) for gap in EXCEPTIONS.keys() - found} == set(), "these exceptions excuse nothing any more"


def test_every_point_is_in_the_code_once() -> None:
    """And every one that is there is in the table, with what has happened and what has not."""
    used = Counter(name for one in modules().values() for function in one.outermost for name in points_in(function))
    assert {name: count for name, count in used.items() if count > 1} == {}
    assert set(used) == set(FAILPOINTS)


BEFORE_COMMIT = {name for name in FAILPOINTS if name.endswith(".before_commit")}
"""These are inside a transaction, so nothing was done yet: to the rest of the world they are the point before it."""


@pytest.mark.parametrize("name", sorted(FAILPOINTS.keys() - BEFORE_COMMIT))
def test_a_point_that_is_taken_away_is_missed(name: str) -> None:
    """The check can fail, at every point."""
    found = modules()
    [path] = [path for path, one in found.items() if name in one.text.split('"')]
    found[path] = module(path, found[path].text.replace(f'crash_point("{name}")', "pass"))
    missed = gaps(found) - EXCEPTIONS.keys()
    assert missed, f"nobody would miss {name}"


def come_to(*names: str, failpoint: str) -> "subprocess.CompletedProcess[bytes]":
    """A process that comes to these points, one after the other."""
    steps = "\n".join(f"    crash_point({name!r})" for name in names)
    code = f"from shared.platform.failpoints import crash_point\ntry:\n{steps}\nfinally:\n    print('a handler ran')"
    environment = os.environ | {FAILPOINT_VARIABLE: failpoint}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False, timeout=30)


@pytest.mark.parametrize(
    ("failpoint", "killed"),
    [
        ("send.after_call", True),
        ("send.after_call:2", True),
        ("send.after_call:3", False),
        ("queue.after_commit", False),
        ("no.such_point", False),
        ("", False),
    ],
)
def test_it_kills_at_the_named_pass_and_nowhere_else(failpoint: str, killed: bool) -> None:
    """By SIGKILL: no handler runs, nothing is flushed; and it says where."""
    ended = come_to("send.before_call", "send.after_call", "send.after_call", failpoint=failpoint)
    if killed:
        expected = (-signal.SIGKILL, b"", b"crash point send.after_call: killed\n")
    else:
        expected = (0, b"a handler ran\n", b"")
    assert (ended.returncode, ended.stdout, ended.stderr) == expected
