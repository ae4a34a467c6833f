"""Tables and figures that tests print at the end of a run."""

from collections.abc import Iterable

LINES: list[str] = []
"""The lines of this process."""


def report(*lines: str) -> None:
    """Print lines at the end of the run, after an empty one."""
    LINES.extend(["", *lines])


def all_lines(others: Iterable[list[str]]) -> list[str]:
    """The lines of all processes."""
    return [*LINES, *(line for lines in others for line in lines)]
