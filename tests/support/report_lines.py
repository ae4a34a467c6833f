"""What tests have to tell besides passing: tables and figures, printed at the end of a run, by all its processes."""

from collections.abc import Iterable

LINES: list[str] = []
"""Of this process."""


def report(*lines: str) -> None:
    """Has lines printed at the end, an empty one before them."""
    LINES.extend(["", *lines])


def all_lines(of_others: Iterable[list[str]]) -> list[str]:
    """The lines of all processes."""
    return [*LINES, *(line for lines in of_others for line in lines)]
