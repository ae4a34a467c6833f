"""Garbage: the collector of cycles runs rarely in a service.

What a group of payouts is made of (rows, entries, events) is freed without it, as soon as nobody holds it; all that the
collector does is to walk over it again and again while it lives, and over all that was imported. Measured in a worker
that applies webhooks: a third of its time.
"""

import gc
from typing import Final

YOUNG_MOST: Final = 50_000
"""So many objects more than were freed before the collector looks at the young ones: a few MB of cycles at the most."""


def collect_rarely() -> None:
    """To be called once, by a process that has loaded what it lives with and will not fork any more."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG_MOST, 20, 20)
