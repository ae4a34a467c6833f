"""Chaos can fail: without any one of the safeguards it finds a violation within five seeds."""

import pytest

from tests.chaos.__main__ import main
from tests.chaos.controls import CONTROLS


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("safeguard", CONTROLS)
def test_removed_safeguard_is_detected(safeguard: str) -> None:
    assert main(["--controls", "--quiet", "--without", safeguard, "--seconds", "30", "--within", "60"]) == 0
