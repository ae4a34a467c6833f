"""A plan depends on seed and seconds alone, and has every kind of fault."""

from collections import Counter

import pytest

from tests.chaos.plan import LEASE_SECONDS, LINKS, PROCESSES, REDIS_DOWN_SECONDS, WORKERS, FaultKind, make_plan


def test_same_seed_and_seconds_give_the_same_plan() -> None:
    first, second = make_plan(7, 60), make_plan(7, 60)
    assert first == second
    assert list(first.table()) == list(second.table())


def test_another_seed_or_duration_gives_another_plan() -> None:
    assert len({make_plan(seed, 60).faults for seed in range(20)}) == 20
    assert make_plan(7, 60).faults != make_plan(7, 61).faults


@pytest.mark.parametrize("seed", range(1, 21))
def test_plan_of_a_minute_has_every_kind_of_fault(seed: int) -> None:
    plan = make_plan(seed, 60)
    counts = Counter(fault.kind for fault in plan.faults)
    assert set(counts) == set(FaultKind)
    assert [fault.lasts_seconds for fault in plan.faults if fault.kind is FaultKind.REDIS_DOWN] == [REDIS_DOWN_SECONDS]
    assert all(0 <= fault.at_seconds < 60 for fault in plan.faults)
    assert all(fault.target in (*PROCESSES, *LINKS) for fault in plan.faults)


@pytest.mark.parametrize("seed", range(1, 6))
def test_worker_is_stopped_longer_than_its_lease_while_paystream_is_silent(seed: int) -> None:
    faults = make_plan(seed, 60).faults
    stops = [fault for fault in faults if fault.kind is FaultKind.STOP and fault.target in WORKERS]
    silences = [fault for fault in faults if fault.kind is FaultKind.SILENT_PROVIDER]
    assert all(stop.lasts_seconds > LEASE_SECONDS for stop in stops)
    around = [
        stop
        for stop in stops
        for one in silences
        if one.at_seconds < stop.at_seconds
        and one.at_seconds + one.lasts_seconds > stop.at_seconds + stop.lasts_seconds
    ]
    assert len(around) >= min(len(stops), 1)


def test_table_has_a_line_for_each_fault_and_habit() -> None:
    plan = make_plan(3, 30)
    assert len(list(plan.table())) == 1 + len(plan.habits) + len(plan.faults)
