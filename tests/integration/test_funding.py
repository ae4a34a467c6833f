"""Top-ups: pending until the provider has credited them, once, in the amount asked for."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from shared.funding import topups
from shared.funding.topups import LeasedTopup
from shared.platform.clock import format_rfc3339
from shared.platform.database import make_engine
from shared.platform.settings import Settings
from shared.provider.call_budget import CallBudget
from shared.provider.client import PaystreamClient
from shared.provider.outcomes import Accepted, Rejected, Unknown
from tests.integration.stub_provider import ReceivedRequest, provider_response, serve_provider
from tests.support.world import GRACE, World

LIFETIME_SECONDS = 24 * 3600.0


def asked_for(world: World, amount_cents: int = 500_000) -> uuid.UUID:
    """A top-up that the customer has asked for."""
    with world.engine.begin() as connection:
        row = topups.request_topup(
            connection, world.wallet_id, amount_cents, "rtp", "Weekly funding", world.clock.now(), grace=GRACE
        )
    assert row.balance_cents == 10_000_000 + amount_cents
    return row.id


def held(world: World, topup_id: uuid.UUID) -> LeasedTopup:
    """The top-up, held by us."""
    with world.engine.begin() as connection:
        [topup] = topups.claim_topups(connection, [topup_id], lease_seconds=60, key_lifetime_seconds=LIFETIME_SECONDS)
    return topup


def record(world: World, topup: LeasedTopup, outcome: Any) -> None:
    """Records an outcome, committed."""
    with world.engine.begin() as connection:
        topups.record_topup_outcome(connection, topup, outcome, world.clock.now())


def status(world: World, topup_id: uuid.UUID) -> str:
    """Where the top-up stands."""
    [(found,)] = world.rows("SELECT status FROM topups WHERE id = :id", id=topup_id)
    return str(found)


@contextmanager
def crediting(settings: Settings, credits: list[dict[str, Any]]) -> Iterator[PaystreamClient]:
    """A provider whose balance shows these credits, two a page."""

    def answering(asked: ReceivedRequest) -> tuple[int, dict[str, str], bytes]:
        start = int(asked.path.partition("cursor=")[2] or 0)
        more = start + 2 < len(credits)
        return provider_response(credits[start : start + 2], nextCursor=str(start + 2) if more else None)

    with serve_provider(answering) as (url, _):
        chosen = msgspec.structs.replace(settings, paystream_url=url)
        engine = make_engine(chosen, "calls", pool_size=1)
        client = PaystreamClient(chosen, CallBudget(chosen, engine))
        yield client
        client.close()
        engine.dispose()


def credit(world: World, reference: str, amount_cents: int = 500_000, minutes_ago: int = 0) -> dict[str, Any]:
    """A credit in the provider's list."""
    made = world.clock.now() - timedelta(minutes=minutes_ago)
    return {
        "id": "btx_1",
        "type": "credit",
        "amount": amount_cents,
        "reference": reference,
        "createdAt": format_rfc3339(made),
    }


def test_a_top_up_is_pending_until_the_provider_has_credited_it(world: World, settings: Settings) -> None:
    """Asked for, taken on, not credited yet, credited: the money is available then and not before."""
    topup_id = asked_for(world)
    assert world.balances()[:3] == (10_000_000, 0, 500_000)
    record(world, held(world, topup_id), Accepted({"id": "top_1", "amount": 500_000}))
    with crediting(settings, [credit(world, "top_0")]) as client:
        topup = held(world, topup_id)
        record(world, topup, topups.call_provider_for_topup(client, topup))
    assert status(world, topup_id) == "pending"
    with crediting(settings, [credit(world, f"top_{number}") for number in (5, 4, 3, 2, 1)]) as client:
        topup = held(world, topup_id)
        record(world, topup, topups.call_provider_for_topup(client, topup))
    assert status(world, topup_id) == "settled"
    assert world.balances()[:3] == (10_500_000, 0, 0)
    world.assert_ledger_consistent()


def test_a_refused_top_up_leaves_no_money(world: World) -> None:
    """Failed, and nothing pending."""
    topup_id = asked_for(world)
    record(world, held(world, topup_id), Rejected("VALIDATION_ERROR", "no"))
    assert status(world, topup_id) == "failed"
    assert world.balances()[:3] == (10_000_000, 0, 0)
    world.assert_ledger_consistent()


@pytest.mark.parametrize("outcome", [Unknown("no answer"), Accepted({"nonsense": 1})])
def test_an_unknown_outcome_is_asked_again(world: World, outcome: Any) -> None:
    """Pending, due again, nothing credited."""
    topup_id = asked_for(world)
    record(world, held(world, topup_id), outcome)
    assert status(world, topup_id) == "pending"
    assert held(world, topup_id).provider_id is None


def test_another_amount_is_not_credited(world: World, settings: Settings) -> None:
    """A person has to look."""
    topup_id = asked_for(world)
    record(world, held(world, topup_id), Accepted({"id": "top_1", "amount": 500_000}))
    with crediting(settings, [credit(world, "top_1", 400_000)]) as client:
        topup = held(world, topup_id)
        record(world, topup, topups.call_provider_for_topup(client, topup))
    assert status(world, topup_id) == "pending"
    assert world.balances().available_cents == 10_000_000


def test_a_key_that_may_be_forgotten_is_never_sent_again(world: World, settings: Settings) -> None:
    """It might debit the bank a second time: it ends with a person, the money still pending."""
    topup_id = asked_for(world)
    record(world, held(world, topup_id), Unknown("no answer"))
    world.execute("UPDATE topups SET first_sent_at = first_sent_at - interval '24 h' WHERE id = :id", id=topup_id)
    topup = held(world, topup_id)
    with crediting(settings, []) as client:
        assert topups.call_provider_for_topup(client, topup) is None
    record(world, topup, None)
    assert world.rows("SELECT status, next_action_at FROM topups WHERE id = :id", id=topup_id) == [("pending", None)]


def test_who_lost_the_lease_credits_nothing(world: World) -> None:
    """The other one does, once."""
    topup_id = asked_for(world)
    late = held(world, topup_id)
    world.execute("UPDATE topups SET lease_expires_at = clock_timestamp() - interval '1 s' WHERE id = :id", id=topup_id)
    current = held(world, topup_id)
    record(world, late, Rejected("VALIDATION_ERROR", "no"))
    assert status(world, topup_id) == "pending"
    record(world, current, Accepted({"id": "top_1", "amount": 500_000}))
    assert world.rows("SELECT provider_id FROM topups WHERE id = :id", id=topup_id) == [("top_1",)]


@pytest.mark.parametrize(("method", "wait_seconds"), [("rtp", 0.3), ("bank_transfer", 2.0)])
def test_each_method_is_looked_after_at_its_own_pace_and_credited_once(
    world: World, settings: Settings, method: str, wait_seconds: float
) -> None:
    """Seconds or days: pending until the provider shows the credit, however often it is shown."""
    with world.engine.begin() as connection:
        topup_id = topups.request_topup(
            connection, world.wallet_id, 500_000, method, "Weekly funding", world.clock.now(), grace=GRACE
        ).id
    record(world, held(world, topup_id), Accepted({"id": f"top_{method}", "amount": 500_000}))
    due = world.rows("SELECT status, next_action_at FROM topups WHERE id = :id", id=topup_id)
    assert due == [("pending", world.clock.now() + timedelta(seconds=wait_seconds))]
    assert world.balances()[:3] == (10_000_000, 0, 500_000)
    with crediting(settings, [credit(world, f"top_{method}")]) as client:
        topup = held(world, topup_id)
        for _ in range(2):
            record(world, topup, topups.call_provider_for_topup(client, topup))
        with world.engine.begin() as connection:
            assert (
                topups.claim_topups(connection, [topup_id], lease_seconds=60, key_lifetime_seconds=LIFETIME_SECONDS)
                == []
            )
    assert world.balances()[:3] == (10_500_000, 0, 0)
    kinds = world.rows("SELECT kind FROM transfers WHERE topup_id = :id ORDER BY position", id=topup_id)
    assert kinds == [("topup",), ("topup_settle",)]
    world.assert_ledger_consistent()
