"""Analytics agree with the ledger to the cent: for any range, before, between and after folds, in any zone."""

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
from tests.integration.analytics import BEGIN, Reckoned, Story
from tests.support.world import World


def same(found: OutcomeTotals, reckoned: Reckoned | None) -> None:
    """Assert that figures are those of the ledger, and the percentiles as near as they say."""
    sums = {name: value for name, value in asdict(found).items() if name != "waits" and value}
    expected = reckoned.figures() if reckoned else {}
    assert sums == {name: value for name, value in expected.items() if name in asdict(found) and value}
    for share, seconds in ((0.5, found.p50_seconds), (0.95, found.p95_seconds)):
        exact = reckoned.percentile(share) if reckoned else None
        assert (seconds is None) == (exact is None)
        if seconds is not None and exact is not None:
            assert abs(seconds - exact) <= PERCENTILE_ERROR_MAX * exact, (share, seconds, exact)


def assert_agrees(story: Story, first: date | datetime, last: date | datetime) -> None:
    """Compares everything that can be asked for a range."""
    reckoned = story.ledger().within(first, last)
    wallet_id, now = story.world.wallet_id, story.world.clock.now()
    with story.reading() as connection:
        place = ranges.load_analytics_wallet(connection, wallet_id, now)

        def span(interval: Interval | None = None) -> TimeRange:
            coarsest = {} if interval is None else {"coarsest": queries.COARSEST_GRAIN[interval]}
            return ranges.resolve_time_range(connection, place, first, last, **coarsest)

        rails = queries.load_totals_by_rail(connection, place, span())
        one = queries.load_totals_by_rail(connection, place, span(), Rail.INSTANT)
        series = {each: queries.load_timeseries(connection, place, span(each), each) for each in Interval}
        ranked, count = ranking.load_driver_ranking(
            connection, place, span(), sort=ranking.DriverSort.VOLUME, limit=100
        )
        failures = queries.load_failure_reasons(connection, place, span())
    same(add_totals(rails.values()), reckoned)
    by_rail = reckoned.by("rail")
    for rail in Rail:
        same(rails[rail], by_rail.get(rail.value))
    assert plain(one[Rail.INSTANT]) == plain(rails[Rail.INSTANT])
    assert list(one) == [Rail.INSTANT]
    by_day = reckoned.by("day")
    for day, totals in series[Interval.DAY].items():
        same(totals, by_day.get(day))
    assert set(by_day) <= set(series[Interval.DAY])
    for interval in (Interval.WEEK, Interval.MONTH):
        starts: dict[date, list[PayoutTotals]] = {}
        for day, totals in series[Interval.DAY].items():
            starts.setdefault(queries.bucket_start(day, interval), []).append(totals)
        apart = {start: add_totals(totals) for start, totals in starts.items()}
        assert {start: plain(one) for start, one in series[interval].items()} == {
            start: plain(one) for start, one in apart.items()
        }
    by_driver = reckoned.by("driver_id")
    ended = {one for one, of in by_driver.items() if {move.kind for move in of.moves} - {"reserve"}}
    for driver in ranked:
        same(driver.ended, by_driver[driver.driver_id])
    assert {driver.driver_id for driver in ranked} <= ended
    assert sum(driver.ended.volume_cents for driver in ranked) == add_totals(rails.values()).volume_cents
    assert sum(driver.ended.failed_cents for driver in ranked) == add_totals(rails.values()).failed_cents
    assert count == len(ranked)
    assert [driver.ended.volume_cents for driver in ranked] == sorted(
        (driver.ended.volume_cents for driver in ranked), reverse=True
    )
    assert {(each.outcome, each.code): list(each[2:]) for each in failures} == reckoned.failures()


def proved(world: World) -> None:
    """Assert that the proof finds nothing, and that it would."""
    wallet, portion = {"id": world.wallet_id}, KeySlice([world.wallet_id], world.clock.now())
    for table, column in (("totals", "fee_cents"), ("drivers", "net_cents"), ("failures", "cents")):
        with world.engine.connect() as connection:
            assert analytics_agree.INVARIANT.violations(connection, portion) == []
            connection.execute(
                sa.text(f"UPDATE analytics_{table} SET {column} = {column} + 1 WHERE wallet_id = :id"), wallet
            )
            assert {broken.wallet_id for broken in analytics_agree.INVARIANT.violations(connection, portion)} == {
                world.wallet_id
            }
            connection.rollback()


def plain(totals: PayoutTotals) -> dict[str, Any]:
    """Without how the waits are packed."""
    return asdict(totals) | {"waits": (totals.p50_seconds, totals.p95_seconds)}


@pytest.mark.parametrize(("seed", "zone"), [(1, "America/Chicago"), (2, "Asia/Kathmandu"), (3, "Atlantic/Azores")])
def test_any_range_agrees_with_the_ledger_whatever_is_folded(world: World, seed: int, zone: str) -> None:
    """Random lives of payouts, folded in random portions in between. Kathmandu is 5:45 off; on the Azores, the hour
    after midnight comes twice on October 25.
    """
    story = Story(world, seed, zone)
    # Given a ledger of which nothing, then some, is folded
    for portion in (None, 60):
        story.go_on(90)
        if portion:
            assert story.fold(portion) == portion
        # Then whatever is asked for agrees with it
        for first, last in story.moments():
            assert_agrees(story, first, last)
    # and when everything is folded
    while story.fold(50):
        pass
    for first, last in story.moments():
        assert_agrees(story, first, last)
    proved(world)
    world.assert_ledger_consistent()


def test_two_folders_and_a_writer_at_once(world: World) -> None:
    """Each transfer is folded once, by whichever of them."""
    story = Story(world, 4)
    story.go_on(30)
    done = threading.Event()
    folded: list[int] = []

    def folder() -> None:
        while not done.is_set():
            folded.append(story.fold(11) or 0)

    threads = [threading.Thread(target=folder) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(10):
            story.go_on(8)
            with story.reading() as connection:
                place = ranges.load_analytics_wallet(connection, world.wallet_id, world.clock.now())
                span = ranges.resolve_time_range(connection, place, date(2026, 1, 1), date(2027, 6, 1))
                rails = queries.load_totals_by_rail(connection, place, span)
                told = connection.execute(
                    sa.text("""
                        SELECT kind, sum(amount_cents) FROM transfers
                        WHERE wallet_id = :id AND payout_id IS NOT NULL GROUP BY kind
                    """),
                    {"id": world.wallet_id},
                )
                cents = {row[0]: int(row[1]) for row in told}
            totals = add_totals(rails.values())
            assert (totals.net_cents, totals.fee_cents) == (cents.get("settle", 0), cents.get("fee", 0))
            assert totals.accepted_cents + totals.retried_cents == cents["reserve"]
            assert totals.failed_cents + totals.canceled_cents == cents.get("release", 0)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    while one := story.fold(1_000):
        folded.append(one)
    assert [(sum(folded),)] == world.rows("SELECT count(*) FROM transfers WHERE wallet_id = :id", id=world.wallet_id)
    for first, last in story.moments():
        assert_agrees(story, first, last)


def test_the_scheduler_folds_every_wallet_in_turn(world: World, settings: Settings) -> None:
    """A round takes some of each; the next goes on, until nothing is left. Two schedulers don't mind each other."""
    stories = [Story(world, 8), Story(World(world.engine), 9)]
    for story in stories:
        story.go_on(40)
    jobs = Jobs(settings, world.engine, TaskSender(settings), world.clock)
    jobs.transfers_per_fold = 20
    with world.engine.connect() as connection:
        assert {story.world.wallet_id for story in stories} <= set(fold.wallets_behind(connection))
    threads = [threading.Thread(target=jobs.fold_analytics) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    jobs.folding_seconds = 60
    jobs.fold_analytics()
    with world.engine.connect() as connection:
        assert fold.wallets_behind(connection) == []
    for story in stories:
        assert_agrees(story, date(2026, 1, 1), date(2027, 6, 1))
    proved(world)
    jobs.task_sender.close()


def test_another_zone_counts_the_days_anew(world: World) -> None:
    """From Chicago to Kathmandu: the same ledger, other days."""
    story = Story(world, 5)
    story.go_on(120)
    while story.fold(100):
        pass
    story.go_on(20)
    story.set_time_zone("Asia/Kathmandu")
    proved(world)
    assert_agrees(story, date(2026, 1, 1), date(2027, 6, 1))
    for first, last in story.moments():
        assert_agrees(story, first, last)
    with pytest.raises(InvalidRequest, match="no time zone"):
        story.set_time_zone("Mars/Olympus")


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 8), 23), (date(2026, 11, 1), 25), (date(2026, 7, 1), 24)])
def test_days_have_23_or_25_hours_when_the_clocks_change(world: World, day: date, hours: int) -> None:
    """In Chicago."""
    story = Story(world, 6)
    with story.reading() as connection:
        place = ranges.load_analytics_wallet(connection, world.wallet_id, BEGIN)
        span = ranges.resolve_time_range(connection, place, day, date.fromordinal(day.toordinal() + 1))
    assert (span.ends_at - span.starts_at).total_seconds() == hours * 3600
    assert [piece.grain for piece in span.pieces] == ["day"]


def test_a_year_is_read_in_few_sums(world: World) -> None:
    """Years, months and days, the quarters of an hour at the ends, and what is beside those from the ledger."""
    story = Story(world, 7)
    with story.reading() as connection:
        place = ranges.load_analytics_wallet(connection, world.wallet_id, BEGIN)
        first, last = datetime.fromisoformat("2024-11-28T10:01:00Z"), datetime.fromisoformat("2027-02-03T00:00:00Z")
        span = ranges.resolve_time_range(connection, place, first, last)
    assert [piece.grain for piece in span.pieces] == ["quarter", "quarter", "day", "month", "year", "month", "day"]
    assert [part.ends_at.minute for part in span.parts] == [15]


def test_positions_are_given_one_by_one(engine: sa.Engine) -> None:
    """What folding rests on: the sequence hands none out in advance, so under the wallet's lock they only grow."""
    with engine.connect() as connection:
        cached = connection.scalar(
            sa.text("SELECT seqcache FROM pg_sequence WHERE seqrelid = CAST('transfers_position_seq' AS regclass)")
        )
    assert cached == 1
