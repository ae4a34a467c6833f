"""The budget: whatever our processes do at once, the provider is asked no more often than it allows."""

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
from shared.platform.settings import Settings
from shared.provider.call_budget import CallBudget, CallGrant
from shared.provider.client import PaystreamClient
from shared.provider.outcomes import Accepted, Throttled
from shared.provider.wire import ProviderCall
from shared.schema.payouts import PayoutStatus, Rail
from tests.integration.stub_provider import provider_response, serve_provider
from tests.support.world import World


class Budgets:
    """Budgets of a test's own: the limits of a mode that nobody else uses."""

    def __init__(self, settings: Settings, engine: sa.Engine) -> None:
        self.settings, self.engine = settings, engine
        self.mode = f"mode-{uuid.uuid4().hex[:8]}"

    def __call__(self, **limits: Any) -> CallBudget:
        return CallBudget(msgspec.structs.replace(self.settings, **limits), self.engine)

    def call(self, path: str = "/payments", *, urgent: bool = False) -> ProviderCall:
        return ProviderCall(self.mode, "POST", path, urgent=urgent)

    def age(self, seconds: float) -> None:
        """Makes what was counted so much older."""
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
    """Budgets of this test's own."""
    return Budgets(settings, engine)


def test_many_processes_together_get_the_limit_and_not_one_more(budgets: Budgets) -> None:
    """Sixteen at once, each asking for ten of a hundred."""
    call = budgets.call()
    with ThreadPoolExecutor(16) as pool:
        taken = list(
            pool.map(
                lambda _: budgets(paystream_requests_per_hour=100, paystream_instant_reserve=0).take(call, 10),
                range(16),
            )
        )
    assert sum(one.granted for one in taken) == 100
    assert all(0 < one.wait_seconds <= 3_720 for one in taken if one.granted < 10)


def test_instant_payouts_find_room_when_nobody_else_does(budgets: Budgets) -> None:
    """A fifth is kept for them; they may use the rest, too."""
    budget = budgets(paystream_requests_per_hour=100, paystream_instant_reserve=20)
    assert budget.take(budgets.call(), 200).granted == 80
    assert budget.take(budgets.call(), 1).granted == 0
    assert budget.take(budgets.call(urgent=True), 200).granted == 20
    assert budget.take(budgets.call(urgent=True), 1).granted == 0


def test_room_comes_back_as_the_window_slides(budgets: Budgets) -> None:
    """Not a moment before the hour is over, and within two minutes after."""
    budget = budgets(paystream_requests_per_hour=10, paystream_instant_reserve=0)
    assert budget.take(budgets.call(), 10) == CallGrant(10, 0.0)
    budgets.age(3_590)
    assert budget.take(budgets.call(), 10).granted == 0
    budgets.age(131)
    assert budget.take(budgets.call(), 10).granted == 10


def test_top_ups_have_a_limit_of_their_own_and_count_for_the_other(budgets: Budgets) -> None:
    """Five a minute."""
    budget = budgets(paystream_requests_per_hour=20, paystream_instant_reserve=0, paystream_funding_per_minute=5)
    assert budget.take(budgets.call("/balance/topup"), 9).granted == 5
    refused = budget.take(budgets.call("/balance/topup"), 1)
    assert refused.granted == 0
    assert refused.wait_seconds <= 62
    assert budget.take(budgets.call(), 20).granted == 15


def test_new_drivers_and_questions_hold_up_no_payout(budgets: Budgets) -> None:
    """However many there are, they get two fifths of the hour; payouts find room for the rest."""
    budget = budgets(paystream_requests_per_hour=1_000, paystream_instant_reserve=200)
    assert budget.take(budgets.call("/recipients"), 900).granted == 400
    question = budgets.call("/payments/pay_1")._replace(method="GET")
    assert budget.take(question, 100).granted == 0
    assert budget.take(budgets.call("/batches"), 1_000).granted == 400
    assert budget.take(budgets.call(urgent=True), 1_000).granted == 200


def test_no_limits_cost_nothing(budgets: Budgets) -> None:
    """As on a developer's machine: not even a row."""
    assert budgets().take(budgets.call(), 10_000) == CallGrant(10_000, 0.0)
    with budgets.engine.connect() as connection:
        assert budgets().pace_seconds(connection, budgets.mode) == 0


def test_a_429_stops_everybody_until_its_time(settings: Settings, engine: sa.Engine) -> None:
    """Given a provider that says no for 30 s in spite of our counting: the next call is not made at all."""
    limited = msgspec.structs.replace(settings, paystream_requests_per_hour=1_000_000)
    said: Iterator[Any] = iter([(429, {"Retry-After": "30"}, b""), provider_response({"id": "x"})])
    with serve_provider(lambda _: next(said)) as (url, asked):
        pointed = msgspec.structs.replace(limited, paystream_url=url)
        first, other = (PaystreamClient(pointed, CallBudget(pointed, engine)) for _ in range(2))
        call = ProviderCall("sandbox", "GET", "/payments/pay_1")
        try:
            assert first.call(call) == Throttled(30.0)
            waits = other.call(call)
            assert isinstance(waits, Throttled)
            assert 28 < waits.retry_after_seconds <= 30
            assert len(asked) == 1
            with engine.begin() as connection:
                connection.execute(sa.text("UPDATE provider_limits SET paused_until = clock_timestamp()"))
            assert isinstance(other.call(call), Accepted)
        finally:
            first.close()
            other.close()
            with engine.begin() as connection:
                connection.execute(sa.text("DELETE FROM provider_limits WHERE name LIKE 'sandbox%'"))


def test_what_found_no_room_was_never_sent(world: World) -> None:
    """Given a submission that waits a day for room: its key's lifetime begins when it is sent."""
    _, held = world.held()
    with world.engine.begin() as connection:
        provider_results.record_outcome(
            connection, held, Throttled(60.0), world.clock.now(), poll_after=timedelta(days=1)
        )
    row = world.rows("SELECT status, first_sent_at, attempts FROM submissions WHERE id = :id", id=held.id)
    assert row == [("prepared", None, 0)]
    # When it was tried before, it may have arrived
    with world.engine.begin() as connection:
        submissions.claim_submissions(connection, [held.id], lease_seconds=0)
        [again] = submissions.claim_submissions(connection, [held.id], lease_seconds=60)
        provider_results.record_outcome(
            connection, again, Throttled(60.0), world.clock.now(), poll_after=timedelta(days=1)
        )
    [(status, first_sent_at, attempts)] = world.rows(
        "SELECT status, first_sent_at, attempts FROM submissions WHERE id = :id", id=held.id
    )
    assert (status, attempts) == ("prepared", 2)
    assert first_sent_at is not None


def test_standard_payouts_leave_together(world: World) -> None:
    """Whoever is rung for takes along what else of the wallet waits; other rails and wallets are left alone."""
    first, second = world.queued(2), world.queued(3)
    fast = world.queued(1, Rail.SAME_DAY)
    with world.engine.begin() as connection:
        leaving = select_for_dispatch(connection, first[:1], lambda _: 0.0)
    assert sorted(leaving) == sorted(first + second)
    with world.engine.begin() as connection:
        assert select_for_dispatch(connection, fast, lambda _: 0.0) == fast


def test_a_wallet_with_much_to_send_keeps_no_other_wallets_payout(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for together with an older payout of a wallet of which more waits than leaves at once, both leave."""
    monkeypatch.setattr(dispatch, "DISPATCHED_PAYOUTS_MAX", 3)
    large, small = world, World(world.engine)
    many, one = large.queued(5), small.queued(1)
    with world.engine.begin() as connection:
        leaving = select_for_dispatch(connection, [many[-1], *one], lambda _: 0.0)
    assert {many[-1], *one} < set(leaving)
    assert len(leaving) == 3


def test_those_that_leave_alone_are_told_apart(world: World) -> None:
    """Nobody waits in a line with them; what is not queued is neither."""
    fast, standard, accepted = world.queued(1, Rail.SAME_DAY), world.queued(2), world.accepted(1)
    with world.engine.connect() as connection:
        alone, sharing = dispatch.split_by_batching(connection, [*fast, *standard, *accepted])
    assert alone == fast
    assert sorted(sharing) == sorted(standard)


def test_where_room_is_tight_they_wait_for_each_other(world: World) -> None:
    """One departure a minute: those who come after it are due when the minute is over, all at once."""
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


def test_the_pace_grows_with_what_was_used(budgets: Budgets) -> None:
    """Nothing for the first sixteenth, a minute where there is no room left."""
    budget = budgets(paystream_requests_per_hour=1_000, paystream_instant_reserve=200)

    def pace() -> float:
        with budgets.engine.connect() as connection:
            return budget.pace_seconds(connection, budgets.mode)

    assert pace() == 0
    budget.take(budgets.call(), 50)
    assert pace() == 0
    budget.take(budgets.call(), 375)
    assert pace() == pytest.approx(30)
    budget.take(budgets.call(), 375)
    assert pace() == 60
