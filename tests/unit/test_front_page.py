"""The front page: does every file that CONTRIBUTING's map leads to exist, and is the licence the one that we say?"""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_map_of_the_house_leads_somewhere() -> None:
    """A map that names rooms which are gone is worse than none."""
    named = set(re.findall(r"`([a-z_.]+/[a-z_./]*)`", (ROOT / "CONTRIBUTING.md").read_text()))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_licence_is_the_one_that_the_package_names() -> None:
    """Apache 2.0, and its text is here."""
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()
