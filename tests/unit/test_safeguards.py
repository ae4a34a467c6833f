"""Safeguards can be switched off by a test, by name, and never in production."""

import os
import subprocess
import sys

import pytest

from shared.platform import safeguards
from shared.platform.settings import SettingsError, load_settings
from tests.support.settings_samples import NEEDED, PRODUCTION


def test_all_are_on_unless_a_test_says_otherwise() -> None:
    assert safeguards.switched_off() == []
    assert all(safeguards.is_on(safeguard) for safeguard in safeguards.ALL)


def test_those_named_are_off_in_a_process_that_is_told_so() -> None:
    script = "from shared import safeguards as s; print(*s.switched_off(), s.is_on(s.FENCING), s.is_on(s.DUE_TICK))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "OVNPAY_WITHOUT": "fencing, write_ahead"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["fencing", "write_ahead", "False", "True"]


def test_a_name_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="OVNPAY_WITHOUT names no safeguard by fences"):
        load_settings({**NEEDED, "OVNPAY_WITHOUT": "fences"})


@pytest.mark.parametrize("safeguard", safeguards.ALL)
def test_production_refuses_to_start_without_one(safeguard: str) -> None:
    with pytest.raises(SettingsError, match="OVNPAY_WITHOUT"):
        load_settings({**PRODUCTION, "OVNPAY_WITHOUT": safeguard})
