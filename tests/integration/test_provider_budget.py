"""The call budget keeps all processes together below the provider's rate limits."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from shared.payouts import dispatch, provider_results, submissions
from shared.payouts.dispatch import select_for_dispatch
from shared.payouts.submission_leases import claim_submissions
from shared.platform.settings import Settings
from shared.provider.call_budget import CallBudget, CallGrant
from shared.provider.client import PaystreamClient
from shared.provider.outcomes import Accepted, Throttled
from shared.provider.wire import ProviderCall
from shared.schema.payouts import PayoutStatus, Rail
from tests.integration.stub_provider import provider_response, serve_provider
from tests.support.world import World


class Budgets:
    """Creates budgets for a mode that only one test uses."""

    def __init__(self, settings: Settings, engine: sa.Engine) -> None:
        self.settings, self.engine = settings, engine
        self.mode = f"mode-{uuid.uuid4().hex[:8]}"

    def __call__(self, **limits: Any) -> CallBudget:
        return CallBudget(msgspec.structs.replace(self.settings, **limits), self.engine)

    def call(self, path: str = "/payments", *, urgent: bool = False) -> ProviderCall:
        return ProviderCall(self.mode, "POST", path, urgent=urgent)

    def age(self, seconds: float) -> None:
        """Move the counted calls back in time."""
        with self.engine.begin() as connection:
            connection.execute(
                sa.text("""
                    UPDATE provider_calls SET began_at = began_at - make_interval(secs => :seconds)
                    WHERE name LIKE :mode || '%'
                """),
                {"seconds": seconds, "mode": self.mode},
            )


@pytest.fixture
def budgets(settings: Settings, engine: sa.Engine) -> Budgets:
    return Budgets(settings, engine)


def test_concurrent_processes_share_one_limit(budgets: Budgets) -> None:
    """Sixteen threads ask for ten calls each, of a hundred."""
    call = budgets.call()
    with ThreadPoolExecutor(16) as pool:
        grants = list(
            pool.map(
                lambda _: budgets(paystream_requests_per_hour=100, paystream_instant_reserve=0).acquire(call, 10),
                range(16),
            )
        )
    assert sum(one.granted for one in grants) == 100
    assert all(0 < one.wait_seconds <= 3_720 for one in grants if one.granted < 10)


def test_reserved_calls_are_granted_to_instant_payouts_only(budgets: Budgets) -> None:
    budget = budgets(paystream_requests_per_hour=100, paystream_instant_reserve=20)
    assert budget.acquire(budgets.call(), 200).granted == 80
    assert budget.acquire(budgets.call(), 1).granted == 0
    assert budget.acquire(budgets.call(urgent=True), 200).granted == 20
    assert budget.acquire(budgets.call(urgent=True), 1).granted == 0


def test_calls_stop_counting_as_the_window_slides(budgets: Budgets) -> None:
    """Never before the hour is over, and at most about two minutes after."""
    budget = budgets(paystream_requests_per_hour=10, paystream_instant_reserve=0)
    assert budget.acquire(budgets.call(), 10) == CallGrant(10, 0.0)
    budgets.age(3_590)
    assert budget.acquire(budgets.call(), 10).granted == 0
    budgets.age(131)
    assert budget.acquire(budgets.call(), 10).granted == 10


def test_top_ups_have_their_own_limit_and_count_for_the_hourly_one(budgets: Budgets) -> None:
    budget = budgets(paystream_requests_per_hour=20, paystream_instant_reserve=0, paystream_funding_per_minute=5)
    assert budget.acquire(budgets.call("/balance/topup"), 9).granted == 5
    rejected = budget.acquire(budgets.call("/balance/topup"), 1)
    assert rejected.granted == 0
    assert rejected.wait_seconds <= 62
    assert budget.acquire(budgets.call(), 20).granted == 15


def test_drivers_and_lookups_leave_calls_for_payments(budgets: Budgets) -> None:
    """They get at most two fifths of the hour's calls."""
    budget = budgets(paystream_requests_per_hour=1_000, paystream_instant_reserve=200)
    assert budget.acquire(budgets.call("/recipients"), 900).granted == 400
    lookup = budgets.call("/payments/pay_1")._replace(method="GET")
    assert budget.acquire(lookup, 100).granted == 0
    assert budget.acquire(budgets.call("/batches"), 1_000).granted == 400
    assert budget.acquire(budgets.call(urgent=True), 1_000).granted == 200


def test_without_limits_every_call_is_granted(budgets: Budgets) -> None:
    assert budgets().acquire(budgets.call(), 10_000) == CallGrant(10_000, 0.0)
    with budgets.engine.connect() as connection:
        assert budgets().pace_seconds(connection, budgets.mode) == 0


def test_a_429_pauses_every_process(settings: Settings, engine: sa.Engine) -> None:
    """Until `Retry-After` has passed, the next call is not sent at all."""
    limited = msgspec.structs.replace(settings, paystream_requests_per_hour=1_000_000)
    responses: Iterator[Any] = iter([(429, {"Retry-After": "30"}, b""), provider_response({"id": "x"})])
    with serve_provider(lambda _: next(responses)) as (url, requests):
        with_url = msgspec.structs.replace(limited, paystream_url=url)
        first, other = (PaystreamClient(with_url, CallBudget(with_url, engine)) for _ in range(2))
        call = ProviderCall("sandbox", "GET", "/payments/pay_1")
        try:
            assert first.call(call) == Throttled(30.0)
            paused = other.call(call)
            assert isinstance(paused, Throttled)
            assert 28 < paused.retry_after_seconds <= 30
            assert len(requests) == 1
            with engine.begin() as connection:
                connection.execute(sa.text("UPDATE provider_limits SET paused_until = clock_timestamp()"))
            assert isinstance(other.call(call), Accepted)
        finally:
            first.close()
            other.close()
            with engine.begin() as connection:
                connection.execute(sa.text("DELETE FROM provider_limits WHERE name LIKE 'sandbox%'"))


def test_a_throttled_first_attempt_does_not_count_as_sent(world: World) -> None:
    """The lifetime of its key begins when it is sent."""
    _, held = world.leased_submission()
    with world.engine.begin() as connection:
        provider_results.record_outcome(
            connection, held, Throttled(60.0), world.clock.now(), poll_after=timedelta(days=1)
        )
    row = world.rows("SELECT status, first_sent_at, attempts FROM submissions WHERE id = :id", id=held.id)
    assert row == [("prepared", None, 0)]
    # A throttled later attempt keeps the time of the first: that one may have arrived
    with world.engine.begin() as connection:
        claim_submissions(connection, [held.id], lease_seconds=0)
        [again] = claim_submissions(connection, [held.id], lease_seconds=60)
        provider_results.record_outcome(
            connection, again, Throttled(60.0), world.clock.now(), poll_after=timedelta(days=1)
        )
    [(status, first_sent_at, attempts)] = world.rows(
        "SELECT status, first_sent_at, attempts FROM submissions WHERE id = :id", id=held.id
    )
    assert (status, attempts) == ("prepared", 2)
    assert first_sent_at is not None


def test_dispatch_selects_all_queued_standard_payouts_of_the_wallet(world: World) -> None:
    """Payouts of other rails are dispatched alone."""
    first, second = world.queued(2), world.queued(3)
    fast = world.queued(1, Rail.SAME_DAY)
    with world.engine.begin() as connection:
        selected = select_for_dispatch(connection, first[:1], lambda _: 0.0)
    assert sorted(selected) == sorted(first + second)
    with world.engine.begin() as connection:
        assert select_for_dispatch(connection, fast, lambda _: 0.0) == fast


def test_a_wallet_with_many_payouts_delays_no_other_wallet(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """More payouts of one wallet are queued than one dispatch takes."""
    monkeypatch.setattr(dispatch, "DISPATCHED_PAYOUTS_MAX", 3)
    large, small = world, World(world.engine)
    many, one = large.queued(5), small.queued(1)
    with world.engine.begin() as connection:
        selected = select_for_dispatch(connection, [many[-1], *one], lambda _: 0.0)
    assert {many[-1], *one} < set(selected)
    assert len(selected) == 3


def test_only_queued_payouts_are_split_by_batching(world: World) -> None:
    fast, standard, accepted = world.queued(1, Rail.SAME_DAY), world.queued(2), world.accepted(1)
    with world.engine.connect() as connection:
        alone, batched = dispatch.split_by_batching(connection, [*fast, *standard, *accepted])
    assert alone == fast
    assert sorted(batched) == sorted(standard)


def test_paced_standard_payouts_wait_for_the_next_dispatch(world: World) -> None:
    """With a pace of 60 s, later payouts become due together, a minute after the last dispatch."""
    first = world.queued(2)
    with world.engine.begin() as connection:
        assert sorted(select_for_dispatch(connection, first, lambda _: 60.0)) == sorted(first)
        submissions.prepare_submissions(connection, first, world.clock.now(), reason="test")
    later = [*world.queued(2), *world.queued(1)]
    fast = world.queued(1, Rail.SAME_DAY)
    with world.engine.begin() as connection:
        assert select_for_dispatch(connection, [*later, *fast], lambda _: 60.0) == fast
    due = world.rows(
        "SELECT DISTINCT next_action_at - departed_at FROM payouts JOIN wallets ON wallets.id = wallet_id "
        "WHERE payouts.id = ANY(:ids)",
        ids=later,
    )
    assert [str(row[0]) for row in due] == ["0:01:00"]
    world.execute(
        "UPDATE wallets SET departed_at = departed_at - interval '1 minute' WHERE id = :id", id=world.wallet_id
    )
    with world.engine.begin() as connection:
        assert sorted(select_for_dispatch(connection, later[:1], lambda _: 60.0)) == sorted(later)
    assert set(world.statuses(later)) == {PayoutStatus.QUEUED}


def test_the_pace_slows_as_calls_run_out(budgets: Budgets) -> None:
    """0 s for the first sixteenth of the calls, 60 s when none is left."""
    budget = budgets(paystream_requests_per_hour=1_000, paystream_instant_reserve=200)

    def pace() -> float:
        with budgets.engine.connect() as connection:
            return budget.pace_seconds(connection, budgets.mode)

    assert pace() == 0
    budget.acquire(budgets.call(), 50)
    assert pace() == 0
    budget.acquire(budgets.call(), 375)
    assert pace() == pytest.approx(30)
    budget.acquire(budgets.call(), 375)
    assert pace() == 60
