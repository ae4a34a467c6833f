"""The journal shows transitions that are not allowed, and answers that were recorded without the lease."""

import pytest

from tests.chaos.journal import ConnectionOwners, Step, find_violations

OWNERS = ConnectionOwners({"workers-1": [(10.0, 501)], "workers-2": [(10.0, 502), (30.0, 501)]})


def lease_step(at: float, port: int, before: str | None, after: str | None, status: str = "prepared") -> Step:
    """Make a step of a submission."""
    return (at, port, "submission", "sub", "prepared", status, before, after)


def test_worker_with_the_lease_may_record() -> None:
    steps = [lease_step(11, 501, None, "a"), lease_step(12, 501, "a", None, "accepted")]
    assert list(find_violations(steps, OWNERS)) == []


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(lease_step(13, 501, "b", None, "unknown"), id="leased by another"),
        pytest.param(lease_step(15, 501, None, None, "unknown"), id="not leased"),
    ],
)
def test_late_worker_without_the_lease_is_a_violation(late: Step) -> None:
    taken_over = [lease_step(11, 501, None, "a"), lease_step(12, 502, "a", "b")]
    ended = [lease_step(14, 502, "b", None, "unknown")] if late[0] > 14 else []
    (found,) = find_violations([*taken_over, *ended, late], OWNERS)
    assert found.startswith("workers-1 recorded an answer")


def test_port_belongs_to_the_service_that_opened_it_last() -> None:
    assert [OWNERS.service_of(501, at) for at in (5.0, 20.0, 31.0)] == ["another process", "workers-1", "workers-2"]
    assert OWNERS.service_of(777, 20.0) == "another process"


def test_transition_outside_the_design_is_a_violation() -> None:
    def step(before: str | None, after: str) -> Step:
        return (11.0, 501, "payout", "pay", before, after, None, None)

    assert (
        list(find_violations([step(None, "validated"), step("validated", "queued"), step("failed", "queued")], OWNERS))
        == []
    )
    assert len(list(find_violations([step("completed", "completed"), step("queued", "completed")], OWNERS))) == 2
