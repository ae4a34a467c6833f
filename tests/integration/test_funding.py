"""A top-up is credited once, after the provider has credited exactly its amount."""

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


def request_topup(world: World, amount_cents: int = 500_000) -> uuid.UUID:
    """Request a top-up, as the customer does."""
    with world.engine.begin() as connection:
        row = topups.request_topup(
            connection, world.wallet_id, amount_cents, "rtp", "Weekly funding", world.clock.now(), grace=GRACE
        )
    assert row.balance_cents == 10_000_000 + amount_cents
    return row.id


def claim(world: World, topup_id: uuid.UUID) -> LeasedTopup:
    """Lease the top-up."""
    with world.engine.begin() as connection:
        [topup] = topups.claim_topups(connection, [topup_id], lease_seconds=60, key_lifetime_seconds=LIFETIME_SECONDS)
    return topup


def record(world: World, topup: LeasedTopup, outcome: Any) -> None:
    """Record an outcome and commit."""
    with world.engine.begin() as connection:
        topups.record_topup_outcome(connection, topup, outcome, world.clock.now())


def status(world: World, topup_id: uuid.UUID) -> str:
    [(found,)] = world.rows("SELECT status FROM topups WHERE id = :id", id=topup_id)
    return str(found)


@contextmanager
def provider_with_credits(settings: Settings, credits: list[dict[str, Any]]) -> Iterator[PaystreamClient]:
    """Yield a client of a provider that lists these credits, two per page."""

    def respond(request: ReceivedRequest) -> tuple[int, dict[str, str], bytes]:
        start = int(request.path.partition("cursor=")[2] or 0)
        more = start + 2 < len(credits)
        return provider_response(credits[start : start + 2], nextCursor=str(start + 2) if more else None)

    with serve_provider(respond) as (url, _):
        chosen = msgspec.structs.replace(settings, paystream_url=url)
        engine = make_engine(chosen, "calls", pool_size=1)
        client = PaystreamClient(chosen, CallBudget(chosen, engine))
        yield client
        client.close()
        engine.dispose()


def credit(world: World, reference: str, amount_cents: int = 500_000, minutes_ago: int = 0) -> dict[str, Any]:
    """Return an entry of the provider's balance statement."""
    made = world.clock.now() - timedelta(minutes=minutes_ago)
    return {
        "id": "btx_1",
        "type": "credit",
        "amount": amount_cents,
        "reference": reference,
        "createdAt": format_rfc3339(made),
    }


def test_a_top_up_is_pending_until_the_provider_has_credited_it(world: World, settings: Settings) -> None:
    topup_id = request_topup(world)
    assert world.balances()[:3] == (10_000_000, 0, 500_000)
    record(world, claim(world, topup_id), Accepted({"id": "top_1", "amount": 500_000}))
    with provider_with_credits(settings, [credit(world, "top_0")]) as client:
        topup = claim(world, topup_id)
        record(world, topup, topups.call_provider_for_topup(client, topup))
    assert status(world, topup_id) == "pending"
    with provider_with_credits(settings, [credit(world, f"top_{number}") for number in (5, 4, 3, 2, 1)]) as client:
        topup = claim(world, topup_id)
        record(world, topup, topups.call_provider_for_topup(client, topup))
    assert status(world, topup_id) == "settled"
    assert world.balances()[:3] == (10_500_000, 0, 0)
    world.assert_ledger_consistent()


def test_a_rejected_top_up_fails_and_leaves_nothing_pending(world: World) -> None:
    topup_id = request_topup(world)
    record(world, claim(world, topup_id), Rejected("VALIDATION_ERROR", "no"))
    assert status(world, topup_id) == "failed"
    assert world.balances()[:3] == (10_000_000, 0, 0)
    world.assert_ledger_consistent()


@pytest.mark.parametrize("outcome", [Unknown("no response"), Accepted({"nonsense": 1})])
def test_an_unclear_outcome_is_retried(world: World, outcome: Any) -> None:
    topup_id = request_topup(world)
    record(world, claim(world, topup_id), outcome)
    assert status(world, topup_id) == "pending"
    assert claim(world, topup_id).provider_id is None


def test_a_credit_of_another_amount_is_not_applied(world: World, settings: Settings) -> None:
    """It needs an operator."""
    topup_id = request_topup(world)
    record(world, claim(world, topup_id), Accepted({"id": "top_1", "amount": 500_000}))
    with provider_with_credits(settings, [credit(world, "top_1", 400_000)]) as client:
        topup = claim(world, topup_id)
        record(world, topup, topups.call_provider_for_topup(client, topup))
    assert status(world, topup_id) == "pending"
    assert world.balances().available_cents == 10_000_000


def test_a_request_is_not_repeated_after_its_key_may_have_expired(world: World, settings: Settings) -> None:
    """It might debit the bank twice. The top-up stays pending for an operator."""
    topup_id = request_topup(world)
    record(world, claim(world, topup_id), Unknown("no response"))
    world.execute("UPDATE topups SET first_sent_at = first_sent_at - interval '24 h' WHERE id = :id", id=topup_id)
    topup = claim(world, topup_id)
    with provider_with_credits(settings, []) as client:
        assert topups.call_provider_for_topup(client, topup) is None
    record(world, topup, None)
    assert world.rows("SELECT status, next_action_at FROM topups WHERE id = :id", id=topup_id) == [("pending", None)]


def test_an_outcome_after_the_lease_has_ended_is_ignored(world: World) -> None:
    topup_id = request_topup(world)
    late = claim(world, topup_id)
    world.execute("UPDATE topups SET lease_expires_at = clock_timestamp() - interval '1 s' WHERE id = :id", id=topup_id)
    current = claim(world, topup_id)
    record(world, late, Rejected("VALIDATION_ERROR", "no"))
    assert status(world, topup_id) == "pending"
    record(world, current, Accepted({"id": "top_1", "amount": 500_000}))
    assert world.rows("SELECT provider_id FROM topups WHERE id = :id", id=topup_id) == [("top_1",)]


@pytest.mark.parametrize(("method", "wait_seconds"), [("rtp", 0.3), ("bank_transfer", 2.0)])
def test_each_method_has_its_own_polling_interval_and_is_credited_once(
    world: World, settings: Settings, method: str, wait_seconds: float
) -> None:
    with world.engine.begin() as connection:
        topup_id = topups.request_topup(
            connection, world.wallet_id, 500_000, method, "Weekly funding", world.clock.now(), grace=GRACE
        ).id
    record(world, claim(world, topup_id), Accepted({"id": f"top_{method}", "amount": 500_000}))
    due = world.rows("SELECT status, next_action_at FROM topups WHERE id = :id", id=topup_id)
    assert due == [("pending", world.clock.now() + timedelta(seconds=wait_seconds))]
    assert world.balances()[:3] == (10_000_000, 0, 500_000)
    with provider_with_credits(settings, [credit(world, f"top_{method}")]) as client:
        topup = claim(world, topup_id)
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
