"""The proof can fail: without any one of the safeguards, chaos finds a break within five seeds."""

import pytest

from shared.platform import safeguards
from tests.chaos.__main__ import main


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("safeguard", safeguards.ALL)
def test_a_safeguard_that_is_switched_off_is_missed(safeguard: str) -> None:
    assert main(["--controls", "--quiet", "--without", safeguard, "--seconds", "30", "--within", "60"]) == 0
