"""Analytics without a database: the error of percentiles, and the split of a range into periods."""

import math
import random
from collections import Counter
from datetime import date, timedelta

import pytest

from shared.reporting.analytics.periods import split_days
from shared.reporting.analytics.waits import BIN_WIDTH, PERCENTILE_ERROR_MAX, SHORTEST_SECONDS, percentile_seconds
from shared.schema.ledger import Grain


def packed(waits: list[float]) -> list[int]:
    """Pack waits as the database does."""
    bins = Counter(
        int(math.log(max(wait, SHORTEST_SECONDS) / SHORTEST_SECONDS) / math.log(BIN_WIDTH)) for wait in waits
    )
    return [(number << 32) + count for number, count in bins.items()]


@pytest.mark.parametrize("seed", range(20))
def test_percentiles_are_within_five_percent(seed: int) -> None:
    chance = random.Random(seed)
    waits = sorted(10 ** chance.uniform(-1, 6.4) for _ in range(chance.choice([1, 2, 19, 20, 1_000])))
    for share in (0.01, 0.5, 0.95, 1):
        exact = waits[math.ceil(share * len(waits)) - 1]
        assert percentile_seconds(packed(waits), share) == pytest.approx(exact, rel=PERCENTILE_ERROR_MAX)


def test_percentile_of_no_waits_is_none() -> None:
    assert percentile_seconds([], 0.5) is None


def test_unmerged_elements_of_a_bin_count_together() -> None:
    one_by_one = [(5 << 32) + 1, (9 << 32) + 1, (5 << 32) + 1]
    assert percentile_seconds(one_by_one, 0.5) == percentile_seconds([(5 << 32) + 2, (9 << 32) + 1], 0.5)


@pytest.mark.parametrize("coarsest", [Grain.DAY, Grain.WEEK, Grain.MONTH, Grain.YEAR])
@pytest.mark.parametrize("fewest", [False, True])
def test_each_day_of_a_range_is_in_its_periods_once(coarsest: Grain, fewest: bool) -> None:
    chance = random.Random(1)
    for _ in range(100):
        first = date(2024, 1, 1) + timedelta(days=chance.randrange(800))
        end = first + timedelta(days=chance.choice([0, 1, 30, 31, 365, 366, chance.randrange(1_500)]))
        periods = split_days(first, end, coarsest, fewest=fewest)
        counted: Counter[date] = Counter()
        for period in periods:
            for number in range((period.ends - period.starts).days):
                counted[(period.starts + timedelta(days=number)).date()] += period.sign
            if period.grain is Grain.WEEK:
                assert {period.starts.weekday(), period.ends.weekday()} == {0}
            if period.grain in (Grain.MONTH, Grain.YEAR):
                assert {period.starts.day, period.ends.day} == {1}
            if period.grain is Grain.YEAR:
                assert {period.starts.month, period.ends.month} == {1}
        wanted = {first + timedelta(days=number) for number in range((end - first).days)}
        assert {day: count for day, count in counted.items() if count} == dict.fromkeys(wanted, 1)
        assert len(periods) <= 9 or fewest


def test_most_of_a_month_is_the_month_less_some_days() -> None:
    most = split_days(date(2026, 1, 3), date(2026, 2, 1), Grain.MONTH, fewest=True)
    assert [(period.grain, period.sign, period.ends.day) for period in most] == [("month", 1, 1), ("day", -1, 3)]
    most = split_days(date(2026, 2, 1), date(2027, 1, 1), Grain.YEAR, fewest=True)
    assert [(period.grain, period.sign) for period in most] == [("year", 1), ("month", -1)]
