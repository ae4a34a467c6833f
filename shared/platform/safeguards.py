"""Safeguards that a test may switch off, to prove that without one of them the chaos run finds a break.

`OVNPAY_WITHOUT=fencing,due_tick` switches off those two. Production refuses to start with it; elsewhere each service
says so in its log. Each is asked for at the places that implement its rule, and nowhere else.
"""

import os
from typing import Final

VARIABLE: Final = "OVNPAY_WITHOUT"

FENCING: Final = "fencing"
"""A result counts only while the lease's token is still its worker's own."""

WRITE_AHEAD: Final = "write_ahead"
"""A submission is committed before the provider is called."""

DUE_TICK: Final = "due_tick"
"""The scheduler rings for every due row."""

TRANSITION_GUARD: Final = "transition_guard"
"""A step is taken only from the status that it starts from."""

ALL: Final = (FENCING, WRITE_AHEAD, DUE_TICK, TRANSITION_GUARD)


def named(text: str) -> frozenset[str]:
    """The safeguards that a list with commas names.

    Raises:
        ValueError: there is no such safeguard.

    """
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    if unknown := sorted(names - set(ALL)):
        raise ValueError(f"{VARIABLE} names no safeguard by {', '.join(unknown)}; there are {', '.join(ALL)}")
    return names


_OFF = frozenset(os.environ.get(VARIABLE, "").replace(" ", "").split(",")) & set(ALL)
"""Read once, as settings are; `shared.platform.settings` refuses a name that is none of these."""


def is_on(safeguard: str) -> bool:
    """Whether the safeguard protects; true unless a test has switched it off for this process."""
    return safeguard not in _OFF


def switched_off() -> list[str]:
    """Those that don't protect."""
    return sorted(_OFF)
