"""Analytics without a database: percentiles are as near as they say, and a range is cut without a gap."""

import math
import random
from collections import Counter
from datetime import date, timedelta

import pytest

from shared.analytics.ranges import days
from shared.analytics.waits import ERROR_MOST, SHORTEST_SECONDS, WIDTH, percentile_seconds
from shared.models.analytics import Grain


def packed(waits: list[float]) -> list[int]:
    """As the database packs them."""
    bins = Counter(int(math.log(max(wait, SHORTEST_SECONDS) / SHORTEST_SECONDS) / math.log(WIDTH)) for wait in waits)
    return [(number << 32) + count for number, count in bins.items()]


@pytest.mark.parametrize("seed", range(20))
def test_percentiles_are_within_five_percent(seed: int) -> None:
    """From a tenth of a second to a month, few and many."""
    chance = random.Random(seed)
    waits = sorted(10 ** chance.uniform(-1, 6.4) for _ in range(chance.choice([1, 2, 19, 20, 1_000])))
    for share in (0.01, 0.5, 0.95, 1):
        exact = waits[math.ceil(share * len(waits)) - 1]
        assert percentile_seconds(packed(waits), share) == pytest.approx(exact, rel=ERROR_MOST)


def test_of_nothing_there_is_no_percentile() -> None:
    """And parts of one bin that were not put together yet count as one."""
    assert percentile_seconds([], 0.5) is None
    one_by_one = [(5 << 32) + 1, (9 << 32) + 1, (5 << 32) + 1]
    assert percentile_seconds(one_by_one, 0.5) == percentile_seconds([(5 << 32) + 2, (9 << 32) + 1], 0.5)


@pytest.mark.parametrize("coarsest", [Grain.DAY, Grain.MONTH, Grain.YEAR])
def test_days_are_cut_without_gap_or_overlap(coarsest: Grain) -> None:
    """Each range, in pieces of whole years, months and days, one behind the other."""
    chance = random.Random(1)
    for _ in range(300):
        first = date(2024, 1, 1) + timedelta(days=chance.randrange(800))
        end = first + timedelta(days=chance.choice([0, 1, 30, 31, 365, 366, chance.randrange(1_500)]))
        pieces = days(first, end, coarsest)
        edges = [edge for piece in pieces for edge in (piece.starts, piece.ends)]
        assert edges[1:-1:2] == edges[2::2]
        if first == end:
            assert pieces == []
            continue
        assert (edges[0].date(), edges[-1].date()) == (first, end)
        assert len(pieces) <= 5
        for piece in pieces:
            if piece.grain is not Grain.DAY:
                assert {piece.starts.day, piece.ends.day} == {1}
            if piece.grain is Grain.YEAR:
                assert {piece.starts.month, piece.ends.month} == {1}
