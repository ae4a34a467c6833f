"""A finding: one thing that was looked at, how it is, and what to do about it."""

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How a thing is."""

    OK = "ok"
    WARN = "warn"
    """It works, and may not for long, or not as well as it should."""
    FAIL = "fail"
    """Payouts don't move, or would soon not, or could be wrong."""


class Finding(NamedTuple):
    """One line of what the doctor says."""

    level: Level
    part: str
    """What was looked at, as in `database: role`."""
    says: str
    """How it is; never a secret, and no address with a password in it."""
    mend: str = ""
    """What a person does about it; empty where nothing is wrong."""


def ok(part: str, says: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, part, says)


def warn(part: str, says: str, mend: str) -> Finding:
    """It works, but."""
    return Finding(Level.WARN, part, says, mend)


def fail(part: str, says: str, mend: str) -> Finding:
    """It does not work."""
    return Finding(Level.FAIL, part, says, mend)
