"""What tests have to tell besides passing: tables and figures, printed at the end of a run, by all its processes."""

from collections.abc import Iterable

TOLD: list[str] = []
"""Of this process."""


def tell(*lines: str) -> None:
    """Has lines printed at the end, an empty one before them."""
    TOLD.extend(["", *lines])


def everything(of_others: Iterable[list[str]]) -> list[str]:
    """The lines of all processes."""
    return [*TOLD, *(line for lines in of_others for line in lines)]
