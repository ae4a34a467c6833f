"""The proof can fail: without any one of the safeguards, chaos finds a break within five seeds."""

import pytest

from tests.chaos.__main__ import main
from tests.chaos.controls import CONTROLS


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("safeguard", CONTROLS)
def test_a_safeguard_that_is_switched_off_is_missed(safeguard: str) -> None:
    assert main(["--controls", "--quiet", "--without", safeguard, "--seconds", "30", "--within", "60"]) == 0
