"""Histograms of payouts' times to paid, in bins that are 10 % wide: a percentile is off by less than 5 %.

A histogram is an array; each element is a bin's number times 2^32 plus its count. Empty bins are left out, and waits
below a tenth of a second count as that.
"""

import math
from collections.abc import Iterable
from typing import Final

BIN_WIDTH: Final = 1.1
"""Ratio of a bin's longest wait to its shortest."""
SHORTEST_SECONDS: Final = 0.1
"""Start of the first bin."""
PERCENTILE_ERROR_MAX: Final = 0.05
"""Relative error of a percentile: (BIN_WIDTH - 1) / (BIN_WIDTH + 1), and rounding."""

MERGED_BIN_SQL: Final = "(part >> 32 << 32) + CAST(sum(part & 4294967295) AS bigint)"
"""Merges the elements `part` of one bin."""


def packed_wait_sql(seconds: str) -> str:
    """Return an expression for one wait as a packed element; null for null."""
    number = f"floor(ln({seconds} / {SHORTEST_SECONDS}) / ln(CAST({BIN_WIDTH} AS float8)))"
    return f"CASE WHEN {seconds} < {SHORTEST_SECONDS} THEN 1 ELSE (CAST({number} AS bigint) << 32) + 1 END"


def merge_waits_sql(packed: str) -> str:
    """Return an expression that merges the bins of concatenated histograms."""
    return f"ARRAY(SELECT {MERGED_BIN_SQL} FROM unnest({packed}) AS part GROUP BY part >> 32)"


def percentile_seconds(packed: Iterable[int] | None, share: float) -> float | None:
    """Return the wait in seconds that a share of all did not exceed; None without waits."""
    bins = sorted((part >> 32, part & 0xFFFF_FFFF) for part in packed or ())
    rank = math.ceil(share * sum(count for _, count in bins))
    for number, count in bins:
        rank -= count
        if rank <= 0:
            return bin_middle_seconds(number)
    return None


def bin_middle_seconds(number: int) -> float:
    """Return a bin's middle: the same relative distance from its shortest and longest wait."""
    return float(f"{SHORTEST_SECONDS * BIN_WIDTH**number * 2 * BIN_WIDTH / (1 + BIN_WIDTH):.4g}")
