"""Findings: the result of one check, and what to do about it."""

from enum import StrEnum
from typing import NamedTuple


class Level(StrEnum):
    """How severe a finding is."""

    OK = "ok"
    WARN = "warn"
    """It works, but not as well as it should, or not for long."""
    FAIL = "fail"
    """Payouts don't move, will soon stop, or may be wrong."""


class Finding(NamedTuple):
    """One line of the doctor's output."""

    level: Level
    part: str
    """What was checked, as in `database: role`."""
    message: str
    """Its state; without secrets or addresses that contain a password."""
    remedy: str = ""
    """What to do, with the command to run; empty if nothing is wrong."""


def ok(part: str, message: str) -> Finding:
    """Make a finding that all is well."""
    return Finding(Level.OK, part, message)


def warn(part: str, message: str, remedy: str) -> Finding:
    """Make a warning."""
    return Finding(Level.WARN, part, message, remedy)


def fail(part: str, message: str, remedy: str) -> Finding:
    """Make a failure."""
    return Finding(Level.FAIL, part, message, remedy)
