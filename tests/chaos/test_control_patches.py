"""Each negative control finds what it patches, so a run of chaos without a safeguard really is one."""

import subprocess
import sys

import pytest

from tests.chaos.controls import CONTROLS, DUE_TICK, FENCING, PATCHES, TRANSITION_GUARD, WRITE_AHEAD

CHANGED = {
    FENCING: ("shared.payouts.submission_leases", "[s.text for s in vars(m).values() if hasattr(s, 'text')]"),
    TRANSITION_GUARD: ("shared.payouts.lifecycle", "m._TRANSITION.text"),
    WRITE_AHEAD: ("workers.payouts", "m._write_and_lease.__name__"),
    DUE_TICK: ("scheduler.jobs", "len(m.due_rows.OTHER_KINDS)"),
}
"""For each control, a module and an expression whose value it changes."""


def value(module: str, expression: str, control: str | None) -> str:
    """Evaluate the expression in a process of its own, with or without the safeguard."""
    removal = f"controls.remove_safeguards({control!r})" if control else "pass"
    code = f"from tests.chaos import controls\n{removal}\nimport {module} as m\nprint({expression})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60).stdout


@pytest.mark.parametrize("control", CONTROLS)
def test_control_changes_the_code_it_is_about(control: str) -> None:
    module, expression = CHANGED[control]
    assert module in PATCHES[control]
    assert value(module, expression, control) != value(module, expression, None)


def test_control_settles_from_any_status() -> None:
    expression = "len(m.SETTLEMENT_PATHS) > 2 * len({state for _, state in m.SETTLEMENT_PATHS})"
    found = value("shared.payouts.payment_updates", expression, TRANSITION_GUARD)
    assert found == "True\n"
