"""Failpoints: each is in the code once, one lies between each two side effects, and an armed one kills at once."""

import os
import signal
import subprocess
import sys
from collections import Counter

import pytest

from shared.platform.failpoints import FAILPOINT_VARIABLE, FAILPOINTS
from tests.unit.side_effects import Gap, failpoints_in, find_gaps, load_modules, parse_module

_READS = "a comparison only reads the provider's record; one that died is repeated once its claim expires"
_NOTHING_CLAIMED = "the first claim got nothing, or there would be no second"

EXCEPTIONS = {
    Gap("scheduler/jobs.py", "_enqueue_due", "commit", "commit"): "a claim that found nothing due changed nothing",
    Gap("scheduler/jobs.py", "fold_analytics", "commit", "commit"): (
        "each fold is complete, and the sums record how far they go: the next run continues there"
    ),
    Gap("scheduler/jobs.py", "apply_retention", "commit", "commit"): (
        "each deletes what has expired; the next run deletes the rest"
    ),
    Gap("gateway/handlers/sandbox.py", "seed_sandbox_data", "enqueue", "answer"): (
        "sandbox money for sandbox drivers: a repeat leaves existing rows alone, and each row is due by itself"
    ),
    Gap("gateway/app_state.py", "run", "enqueue", "commit"): (
        "the same: seeding registers the drivers and enqueues them, then pays them"
    ),
    Gap("scheduler/jobs.py", "check_invariants", "commit", "commit"): (
        "an unchecked invariant is claimed again later; a violation freezes money as it is recorded"
    ),
    Gap("scheduler/jobs.py", "reconcile", "commit", "commit"): _READS,
    Gap("scheduler/jobs.py", "reconcile", "call", "commit"): _READS,
    Gap("workers/submissions.py", "claim_after_identity_check", "enqueue", "commit"): _NOTHING_CLAIMED,
    Gap("workers/submissions.py", "claim_after_identity_check", "commit", "commit"): _NOTHING_CLAIMED,
}
"""Consecutive side effects without a failpoint between them, and why that is safe."""


def test_a_failpoint_lies_between_each_two_side_effects() -> None:
    found = find_gaps(load_modules())
    assert {str(gap) for gap in found - EXCEPTIONS.keys()} == set(), "put a failpoint between these"
    assert {str(gap) for gap in EXCEPTIONS.keys() - found} == set(), "these exceptions are no longer needed"


def test_each_failpoint_is_in_the_code_once() -> None:
    used = Counter(
        name for one in load_modules().values() for function in one.outermost for name in failpoints_in(function)
    )
    assert {name: count for name, count in used.items() if count > 1} == {}
    assert set(used) == set(FAILPOINTS)


BEFORE_COMMIT = {name for name in FAILPOINTS if name.endswith(".before_commit")}
"""These lie inside a transaction: to the rest of the world they equal the failpoint before it."""


@pytest.mark.parametrize("name", sorted(FAILPOINTS.keys() - BEFORE_COMMIT))
def test_a_removed_failpoint_is_missed(name: str) -> None:
    """The check above can fail, at every failpoint."""
    found = load_modules()
    [path] = [path for path, one in found.items() if name in one.text.split('"')]
    found[path] = parse_module(path, found[path].text.replace(f'failpoint("{name}")', "pass"))
    missed = find_gaps(found) - EXCEPTIONS.keys()
    assert missed, f"no gap without {name}"


def pass_failpoints(*names: str, armed: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a process that passes these failpoints in order."""
    steps = "\n".join(f"    failpoint({name!r})" for name in names)
    code = f"from shared.platform.failpoints import failpoint\ntry:\n{steps}\nfinally:\n    print('a handler ran')"
    environment = os.environ | {FAILPOINT_VARIABLE: armed}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False, timeout=30)


@pytest.mark.parametrize(
    ("armed", "killed"),
    [
        ("send.after_call", True),
        ("send.after_call:2", True),
        ("send.after_call:3", False),
        ("queue.after_commit", False),
        ("no.such_point", False),
        ("", False),
    ],
)
def test_armed_failpoint_kills_at_the_named_pass_only(armed: str, killed: bool) -> None:
    """By SIGKILL: no handler runs, nothing is flushed."""
    ended = pass_failpoints("send.before_call", "send.after_call", "send.after_call", armed=armed)
    if killed:
        expected = (-signal.SIGKILL, b"", b"failpoint send.after_call: killed\n")
    else:
        expected = (0, b"a handler ran\n", b"")
    assert (ended.returncode, ended.stdout, ended.stderr) == expected
