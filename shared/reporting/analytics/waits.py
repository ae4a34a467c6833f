"""Waits: how long payouts took to be paid, counted in bins whose width grows with the wait.

A bin is 10 % wide, and its middle stands for all in it: a percentile is off by less than 5 %. Waits below a tenth of a
second count as one. Bins are packed into an array: each element is a bin's number times 2^32, plus how many waits are
in it; bins without any are left out.
"""

import math
from collections.abc import Iterable
from typing import Final

BIN_WIDTH: Final = 1.1
"""How much longer a bin's longest wait is than its shortest."""
SHORTEST_SECONDS: Final = 0.1
"""Where the first bin begins."""
PERCENTILE_ERROR_MAX: Final = 0.05
"""By which part of itself a percentile may be off: (WIDTH - 1) / (WIDTH + 1), and its rounding."""

MERGED_BIN_SQL: Final = "(part >> 32 << 32) + CAST(sum(part & 4294967295) AS bigint)"
"""The elements `part` of one bin as one element."""


def packed_wait_sql(seconds: str) -> str:
    """One wait as an element of a packed array, as SQL; null where it is."""
    number = f"floor(ln({seconds} / {SHORTEST_SECONDS}) / ln(CAST({BIN_WIDTH} AS float8)))"
    return f"CASE WHEN {seconds} < {SHORTEST_SECONDS} THEN 1 ELSE (CAST({number} AS bigint) << 32) + 1 END"


def merge_waits_sql(packed: str) -> str:
    """Packed arrays that were put one behind the other, each bin once again."""
    return f"ARRAY(SELECT {MERGED_BIN_SQL} FROM unnest({packed}) AS part GROUP BY part >> 32)"


def percentile_seconds(packed: Iterable[int] | None, share: float) -> float | None:
    """The wait that this share of them did not exceed, in seconds; None where there are none."""
    bins = sorted((part >> 32, part & 0xFFFF_FFFF) for part in packed or ())
    rank = math.ceil(share * sum(count for _, count in bins))
    for number, count in bins:
        rank -= count
        if rank <= 0:
            return bin_middle_seconds(number)
    return None


def bin_middle_seconds(number: int) -> float:
    """What stands for a bin's waits: as far from its shortest as from its longest, measured in parts of each."""
    return float(f"{SHORTEST_SECONDS * BIN_WIDTH**number * 2 * BIN_WIDTH / (1 + BIN_WIDTH):.4g}")
