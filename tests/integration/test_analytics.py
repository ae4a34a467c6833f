"""Analytics equal the ledger to the cent: for any range, however much is folded, in any time zone."""

import threading
from dataclasses import asdict
from datetime import date, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from scheduler.jobs import Jobs
from shared.controls.invariants import analytics_agree
from shared.controls.invariants.invariant import KeySlice
from shared.platform.errors import InvalidRequest
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.reporting.analytics import fold, queries, ranges, ranking
from shared.reporting.analytics.definitions import OutcomeTotals, PayoutTotals, add_totals
from shared.reporting.analytics.queries import Interval
from shared.reporting.analytics.ranges import TimeRange
from shared.reporting.analytics.waits import PERCENTILE_ERROR_MAX
from shared.schema.payouts import Rail
from tests.integration.payout_history import BEGIN, ExpectedTotals, PayoutHistory
from tests.support.world import World


def assert_equal(found: OutcomeTotals, expected: ExpectedTotals | None) -> None:
    """Assert that sums are exact, and percentiles within their error."""
    sums = {name: value for name, value in asdict(found).items() if name != "waits" and value}
    exact_sums = expected.sums() if expected else {}
    assert sums == {name: value for name, value in exact_sums.items() if name in asdict(found) and value}
    for share, seconds in ((0.5, found.p50_seconds), (0.95, found.p95_seconds)):
        exact = expected.percentile(share) if expected else None
        assert (seconds is None) == (exact is None)
        if seconds is not None and exact is not None:
            assert abs(seconds - exact) <= PERCENTILE_ERROR_MAX * exact, (share, seconds, exact)


def assert_analytics_match(history: PayoutHistory, first: date | datetime, last: date | datetime) -> None:
    """Compare everything that analytics return for a range."""
    expected = history.ledger().within(first, last)
    wallet_id, now = history.world.wallet_id, history.world.clock.now()
    with history.snapshot() as connection:
        wallet = ranges.load_analytics_wallet(connection, wallet_id, now)

        def resolve(interval: Interval | None = None) -> TimeRange:
            coarsest = {} if interval is None else {"coarsest": queries.COARSEST_GRAIN[interval]}
            return ranges.resolve_time_range(connection, wallet, first, last, **coarsest)

        rails = queries.load_totals_by_rail(connection, wallet, resolve())
        one = queries.load_totals_by_rail(connection, wallet, resolve(), Rail.INSTANT)
        series = {each: queries.load_timeseries(connection, wallet, resolve(each), each) for each in Interval}
        ranked, count = ranking.load_driver_ranking(
            connection, wallet, resolve(), sort=ranking.DriverSort.VOLUME, limit=100
        )
        failures = queries.load_failure_reasons(connection, wallet, resolve())
    assert_equal(add_totals(rails.values()), expected)
    by_rail = expected.by("rail")
    for rail in Rail:
        assert_equal(rails[rail], by_rail.get(rail.value))
    assert comparable(one[Rail.INSTANT]) == comparable(rails[Rail.INSTANT])
    assert list(one) == [Rail.INSTANT]
    by_day = expected.by("day")
    for day, totals in series[Interval.DAY].items():
        assert_equal(totals, by_day.get(day))
    assert set(by_day) <= set(series[Interval.DAY])
    for interval in (Interval.WEEK, Interval.MONTH):
        starts: dict[date, list[PayoutTotals]] = {}
        for day, totals in series[Interval.DAY].items():
            starts.setdefault(queries.bucket_start(day, interval), []).append(totals)
        apart = {start: add_totals(totals) for start, totals in starts.items()}
        assert {start: comparable(one) for start, one in series[interval].items()} == {
            start: comparable(one) for start, one in apart.items()
        }
    by_driver = expected.by("driver_id")
    ended = {one for one, of in by_driver.items() if {move.kind for move in of.moves} - {"reserve"}}
    for driver in ranked:
        assert_equal(driver.totals, by_driver[driver.driver_id])
    assert {driver.driver_id for driver in ranked} <= ended
    assert sum(driver.totals.volume_cents for driver in ranked) == add_totals(rails.values()).volume_cents
    assert sum(driver.totals.failed_cents for driver in ranked) == add_totals(rails.values()).failed_cents
    assert count == len(ranked)
    assert [driver.totals.volume_cents for driver in ranked] == sorted(
        (driver.totals.volume_cents for driver in ranked), reverse=True
    )
    assert {(each.outcome, each.code): list(each[2:]) for each in failures} == expected.failures()


def assert_invariant_holds(world: World) -> None:
    """Assert that the invariant finds nothing, and that it finds a planted difference."""
    wallet, key_slice = {"id": world.wallet_id}, KeySlice([world.wallet_id], world.clock.now())
    for table, column in (("totals", "fee_cents"), ("drivers", "net_cents"), ("failures", "cents")):
        with world.engine.connect() as connection:
            assert analytics_agree.INVARIANT.violations(connection, key_slice) == []
            connection.execute(
                sa.text(f"UPDATE analytics_{table} SET {column} = {column} + 1 WHERE wallet_id = :id"), wallet
            )
            assert {broken.wallet_id for broken in analytics_agree.INVARIANT.violations(connection, key_slice)} == {
                world.wallet_id
            }
            connection.rollback()


def comparable(totals: PayoutTotals) -> dict[str, Any]:
    """Return the totals with percentiles instead of packed waits."""
    return asdict(totals) | {"waits": (totals.p50_seconds, totals.p95_seconds)}


@pytest.mark.parametrize(("seed", "zone"), [(1, "America/Chicago"), (2, "Asia/Kathmandu"), (3, "Atlantic/Azores")])
def test_any_range_matches_the_ledger_however_much_is_folded(world: World, seed: int, zone: str) -> None:
    """Kathmandu is 5:45 ahead of UTC; on the Azores, the hour after midnight comes twice on October 25."""
    history = PayoutHistory(world, seed, zone)
    # Given a ledger that is not folded, then in part
    for limit in (None, 60):
        history.run_steps(90)
        if limit:
            assert history.fold(limit) == limit
        # Then analytics match it
        for first, last in history.ranges():
            assert_analytics_match(history, first, last)
    # and when all of it is folded
    while history.fold(50):
        pass
    for first, last in history.ranges():
        assert_analytics_match(history, first, last)
    assert_invariant_holds(world)
    world.assert_ledger_consistent()


def test_concurrent_folds_and_writes_fold_each_transfer_once(world: World) -> None:
    history = PayoutHistory(world, 4)
    history.run_steps(30)
    done = threading.Event()
    folded: list[int] = []

    def fold_repeatedly() -> None:
        while not done.is_set():
            folded.append(history.fold(11) or 0)

    threads = [threading.Thread(target=fold_repeatedly) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            history.run_steps(8)
            with history.snapshot() as connection:
                wallet = ranges.load_analytics_wallet(connection, world.wallet_id, world.clock.now())
                time_range = ranges.resolve_time_range(connection, wallet, date(2026, 1, 1), date(2027, 6, 1))
                rails = queries.load_totals_by_rail(connection, wallet, time_range)
                sums = connection.execute(
                    sa.text("""
                        SELECT kind, sum(amount_cents) FROM transfers
                        WHERE wallet_id = :id AND payout_id IS NOT NULL GROUP BY kind
                    """),
                    {"id": world.wallet_id},
                )
                cents = {row[0]: int(row[1]) for row in sums}
            totals = add_totals(rails.values())
            assert (totals.net_cents, totals.fee_cents) == (cents.get("settle", 0), cents.get("fee", 0))
            assert totals.accepted_cents + totals.retried_cents == cents["reserve"]
            assert totals.failed_cents + totals.canceled_cents == cents.get("release", 0)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    while one := history.fold(1_000):
        folded.append(one)
    assert [(sum(folded),)] == world.rows("SELECT count(*) FROM transfers WHERE wallet_id = :id", id=world.wallet_id)
    for first, last in history.ranges():
        assert_analytics_match(history, first, last)


def test_schedulers_fold_every_wallet_over_several_rounds(world: World, settings: Settings) -> None:
    histories = [PayoutHistory(world, 8), PayoutHistory(World(world.engine), 9)]
    for history in histories:
        history.run_steps(40)
    jobs = Jobs(settings, world.engine, TaskSender(settings), world.clock)
    jobs.transfers_per_fold = 20
    with world.engine.connect() as connection:
        assert {history.world.wallet_id for history in histories} <= set(fold.wallets_behind(connection))
    threads = [threading.Thread(target=jobs.fold_analytics) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs.folding_seconds = 60
    jobs.fold_analytics()
    with world.engine.connect() as connection:
        assert fold.wallets_behind(connection) == []
    for history in histories:
        assert_analytics_match(history, date(2026, 1, 1), date(2027, 6, 1))
    assert_invariant_holds(world)
    jobs.task_sender.close()


def test_changed_time_zone_recomputes_the_days(world: World) -> None:
    history = PayoutHistory(world, 5)
    history.run_steps(120)
    while history.fold(100):
        pass
    history.run_steps(20)
    history.set_time_zone("Asia/Kathmandu")
    assert_invariant_holds(world)
    assert_analytics_match(history, date(2026, 1, 1), date(2027, 6, 1))
    for first, last in history.ranges():
        assert_analytics_match(history, first, last)
    with pytest.raises(InvalidRequest, match="no time zone"):
        history.set_time_zone("Mars/Olympus")


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 8), 23), (date(2026, 11, 1), 25), (date(2026, 7, 1), 24)])
def test_days_have_23_or_25_hours_when_clocks_change(world: World, day: date, hours: int) -> None:
    history = PayoutHistory(world, 6)
    with history.snapshot() as connection:
        wallet = ranges.load_analytics_wallet(connection, world.wallet_id, BEGIN)
        time_range = ranges.resolve_time_range(connection, wallet, day, date.fromordinal(day.toordinal() + 1))
    assert (time_range.ends_at - time_range.starts_at).total_seconds() == hours * 3600
    assert [period.grain for period in time_range.periods] == ["day"]


def test_a_year_is_read_from_few_sums(world: World) -> None:
    history = PayoutHistory(world, 7)
    with history.snapshot() as connection:
        wallet = ranges.load_analytics_wallet(connection, world.wallet_id, BEGIN)
        first = datetime.fromisoformat("2024-11-28T10:01:00Z")
        last = datetime.fromisoformat("2027-02-03T00:00:00Z")
        time_range = ranges.resolve_time_range(connection, wallet, first, last)
    grains = [period.grain for period in time_range.periods]
    assert grains == ["quarter", "quarter", "day", "month", "year", "month", "day"]
    assert [part.ends_at.minute for part in time_range.partial_quarters] == [15]


def test_position_sequence_caches_no_values(engine: sa.Engine) -> None:
    """Folding relies on positions that only grow under the wallet's lock."""
    with engine.connect() as connection:
        cached = connection.scalar(
            sa.text("SELECT seqcache FROM pg_sequence WHERE seqrelid = CAST('transfers_position_seq' AS regclass)")
        )
    assert cached == 1
