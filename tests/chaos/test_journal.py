"""The journal knows a step that no payout may take, and an answer recorded by who did not hold the submission."""

import pytest

from tests.chaos.journal import Owners, Step, breaks

OWNERS = Owners({"workers-1": [(10.0, 501)], "workers-2": [(10.0, 502), (30.0, 501)]})


def held(at: float, port: int, before: str | None, after: str | None, status: str = "prepared") -> Step:
    """A step of the one submission."""
    return (at, port, "submission", "sub", "prepared", status, before, after)


def test_whoever_holds_a_submission_may_record() -> None:
    steps = [held(11, 501, None, "a"), held(12, 501, "a", None, "accepted")]
    assert list(breaks(steps, OWNERS)) == []


@pytest.mark.parametrize(
    "late",
    [
        pytest.param(held(13, 501, "b", None, "unknown"), id="while another holds it"),
        pytest.param(held(15, 501, None, None, "unknown"), id="when nobody does"),
    ],
)
def test_who_woke_up_late_may_not(late: Step) -> None:
    taken_over = [held(11, 501, None, "a"), held(12, 502, "a", "b")]
    ended = [held(14, 502, "b", None, "unknown")] if late[0] > 14 else []
    (found,) = breaks([*taken_over, *ended, late], OWNERS)
    assert found.startswith("workers-1 recorded an answer")


def test_a_port_belongs_to_who_opened_it_last() -> None:
    assert [OWNERS.of(501, at) for at in (5.0, 20.0, 31.0)] == ["somebody else", "workers-1", "workers-2"]
    assert OWNERS.of(777, 20.0) == "somebody else"


def test_only_the_steps_of_the_design_may_be_taken() -> None:
    def step(before: str | None, after: str) -> Step:
        return (11.0, 501, "payout", "pay", before, after, None, None)

    assert list(breaks([step(None, "validated"), step("validated", "queued"), step("failed", "queued")], OWNERS)) == []
    assert len(list(breaks([step("completed", "completed"), step("queued", "completed")], OWNERS))) == 2
