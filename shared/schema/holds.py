"""Why money must not leave."""

import enum


class HoldKind(enum.StrEnum):
    """How a hold came to be."""

    FROZEN = "frozen"
    """An invariant is broken: by ourselves, until a person has looked and says why it may go on."""

    PAUSED = "paused"
    """By a person, for as long as he wants."""
