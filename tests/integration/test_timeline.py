"""The timeline of a payout: all records, in causal order, and the expected next step."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from shared.payouts import poll, provider_results, submission_leases
from shared.payouts.payment_updates import PaymentUpdate
from shared.payouts.rails import add_business_days, estimate_arrival
from shared.payouts.retry import retry_wallet_payouts
from shared.payouts.settle import settle_payouts
from shared.payouts.timeline import TIMELINE_EVENTS_MAX, Timeline, load_timeline
from shared.provider.outcomes import Accepted, Rejected, Throttled, Unknown
from shared.schema.payouts import PayoutStatus, Rail
from tests.support.world import GRACE, World


def timeline_of(world: World, payout_id: uuid.UUID, now: datetime | None = None) -> Timeline:
    """The payout's timeline."""
    with world.engine.connect() as connection:
        found = load_timeline(connection, world.wallet_id, payout_id, now or world.clock.now())
    assert found is not None
    return found


def summarize(found: Timeline) -> list[str]:
    """Each entry in one or two words."""
    keys = {"transition": "to", "transfer": "type", "provider_answer": "answer", "customer_event": "event"}
    return [" ".join([one.kind, str(one.details.get(keys.get(one.kind, ""), ""))]).strip() for one in found.events]


def record_later(world: World, held: Any, outcome: Any) -> None:
    """Record the provider's response a second later."""
    world.clock.advance(seconds=1)
    with world.engine.begin() as connection:
        provider_results.record_outcome(connection, held, outcome, world.clock.now(), poll_after=timedelta(days=4))


def update_later(world: World, payment_id: str, state: str, **more: Any) -> None:
    """Apply a payment update a second later."""
    world.clock.advance(seconds=1)
    values: dict[str, Any] = {"amount_cents": 44_750, "failure_code": None, "failure_reason": None, **more}
    with world.engine.begin() as connection:
        settle_payouts(
            connection, [PaymentUpdate(state, payment_id, None, source="webhook", **values)], world.clock.now()
        )


def accepted_payment(world: World, held: Any, payment_id: str) -> Accepted:
    request = held.request
    return Accepted(
        {"id": payment_id, "recipientId": request["recipientId"], "amount": request["amount"], "status": "created"}
    )


def test_entries_of_one_transaction_are_in_causal_order(world: World) -> None:
    """An instant payout takes three steps at one time."""
    [payout_id] = world.accepted(1, Rail.INSTANT)
    found = timeline_of(world, payout_id)
    assert summarize(found) == [
        "transition validated",
        "transfer reserve",
        "customer_event payout.created",
        "transition queued",
        "submission",
        "transition processing",
    ]
    assert found.events[0].title == "Accepted: $450.00 to Dora Driver"
    assert found.next is not None
    assert (found.next.kind, found.next.by) == ("submission", world.clock.now())


def test_inconclusive_responses_are_listed_without_hosts_or_credentials(world: World) -> None:
    [payout_id], held = world.leased_submission(1)
    record_later(world, held, Unknown("ClientConnectorError: Cannot connect to host paystream.internal:443"))
    found = timeline_of(world, payout_id)
    assert found.next is not None
    assert "paystream.internal" not in str(found)
    assert "asked again with the same key" in found.next.sentence
    assert found.next.by == world.clock.now() + timedelta(seconds=1)
    for outcome in (Throttled(5.0), Unknown("401 UNAUTHORIZED: bad key psk_live_secret"), None):
        world.execute("UPDATE submissions SET lease_token = :t WHERE id = :id", id=held.id, t=held.token)
        record_later(world, held, outcome or accepted_payment(world, held, "pay_unclear"))
    found = timeline_of(world, payout_id)
    assert "psk_live" not in str(found)
    assert [line for line in summarize(found) if line.startswith("provider_answer")] == [
        "provider_answer unknown",
        "provider_answer throttled",
        "provider_answer unknown",
        "provider_answer accepted",
    ]
    assert found.next is not None
    assert found.next.kind == "provider_webhook"
    assert found.next.by == world.clock.now() + timedelta(days=4)
    assert found.next.arrival is not None
    assert found.next.arrival.speed == "2-4 business days"
    world.assert_ledger_consistent()


def test_latest_inconclusive_responses_are_kept(world: World) -> None:
    _, held = world.leased_submission(1)
    for number in range(submission_leases.UNCLEAR_ANSWERS_MAX + 2):
        world.execute("UPDATE submissions SET lease_token = :t WHERE id = :id", id=held.id, t=held.token)
        record_later(world, held, Unknown(f"no answer within {number} s"))
    [(kept,)] = world.rows("SELECT unclear_answers FROM submissions WHERE id = :id", id=held.id)
    assert isinstance(kept, list)
    assert len(kept) == submission_leases.UNCLEAR_ANSWERS_MAX
    assert (kept[0]["message"], kept[-1]["message"]) == ("no answer within 2 s", "no answer within 51 s")


def test_rejected_batch_does_not_show_other_payouts(world: World) -> None:
    (first, second), held = world.leased_submission(2)
    record_later(world, held, Rejected("VALIDATION_ERROR", "no"))
    found = timeline_of(world, first)
    assert summarize(found)[-4:] == ["transition processing", "submission", "provider_answer rejected", "submission"]
    assert "sent again with fewer others" in str(found)
    assert str(second) not in str(found)


def test_each_attempt_keeps_its_own_failure(world: World) -> None:
    """The retried payout has no failure any more; its timeline does."""
    [payout_id], held = world.leased_submission(1)
    record_later(world, held, accepted_payment(world, held, "pay_attempts"))
    update_later(world, "pay_attempts", "failed", failure_code="BANK_REJECTED", failure_reason="Account closed")
    found = timeline_of(world, payout_id)
    assert summarize(found)[-3:] == ["transition failed", "transfer release", "customer_event payout.failed"]
    assert found.next is not None
    assert found.next.kind == "customer"
    with world.engine.begin() as connection:
        retry_wallet_payouts(connection, world.wallet_id, [payout_id], world.clock.now(), grace=GRACE)
    found = timeline_of(world, payout_id)
    assert summarize(found)[-2:] == ["transition queued", "transfer reserve"]
    failed = next(event for event in found.events if event.details.get("to") == "failed")
    assert failed.title == "Failed: Account closed"
    assert failed.details["failure"] == {"code": "BANK_REJECTED", "message": "Account closed"}
    assert found.next is not None
    assert (found.next.kind, found.next.by) == ("submission", world.clock.now() + GRACE)


def test_contradiction_is_listed_and_waits_for_an_operator(world: World) -> None:
    """The earlier poll is listed too."""
    [payout_id], held = world.leased_submission(1)
    record_later(world, held, accepted_payment(world, held, "pay_held"))
    world.clock.advance(days=4)
    with world.engine.begin() as connection:
        poll.start_polls(connection, [payout_id], world.clock.now(), first_seconds=60)
    update_later(world, "pay_held", "completed", amount_cents=1)
    found = timeline_of(world, payout_id)
    assert summarize(found)[-2:] == ["poll", "hold"]
    assert found.events[-1].at == world.clock.now()
    assert found.next is not None
    assert (found.next.kind, found.next.by) == ("person", None)


def test_completed_ach_payout_may_be_returned_for_five_business_days(world: World) -> None:
    [payout_id] = world.queued(1)
    world.end([payout_id], PayoutStatus.COMPLETED)
    found = timeline_of(world, payout_id)
    assert summarize(found)[-4:] == [
        "transition completed",
        "transfer settle",
        "transfer fee",
        "customer_event payout.succeeded",
    ]
    assert found.next is not None
    assert found.next.kind == "return"
    assert timeline_of(world, payout_id, world.clock.now() + timedelta(days=8)).next is None


def test_timeline_has_the_newest_thousand_events(world: World) -> None:
    [payout_id] = world.accepted(1)
    world.execute(
        """
        INSERT INTO provider_events (id, event_key, body_sha256, type, payout_id, wallet_id, body, status, received_at)
        SELECT gen_random_uuid(), :id || ' ' || number, '', 'payout.processing', CAST(:id AS uuid), :wallet_id, '',
               'ignored', :now + make_interval(secs => number)
        FROM generate_series(1, :count) AS number
        """,
        id=str(payout_id),
        wallet_id=world.wallet_id,
        now=world.clock.now(),
        count=TIMELINE_EVENTS_MAX,
    )
    found = timeline_of(world, payout_id)
    assert (len(found.events), found.truncated) == (TIMELINE_EVENTS_MAX, True)
    assert found.events[-1].at == world.clock.now() + timedelta(seconds=TIMELINE_EVENTS_MAX)
    assert "transition validated" not in summarize(found)


def test_webhooks_of_another_wallet_are_not_listed(world: World, engine: sa.Engine) -> None:
    """And another wallet's payout has no timeline."""
    [payout_id], other_world = world.accepted(1), World(engine)
    world.execute(
        """
        INSERT INTO provider_events (id, event_key, body_sha256, type, payout_id, wallet_id, body, status, received_at)
        VALUES (gen_random_uuid(), :key, '', 'payment.completed', :id, :wallet_id, '', 'mismatch', :now)
        """,
        key=uuid.uuid4().hex,
        id=payout_id,
        wallet_id=other_world.wallet_id,
        now=world.clock.now(),
    )
    assert "provider_webhook" not in summarize(timeline_of(world, payout_id))
    with engine.connect() as connection:
        assert load_timeline(connection, other_world.wallet_id, payout_id, world.clock.now()) is None


def test_step_does_not_precede_its_cause(world: World) -> None:
    """One worker reads its clock and waits for the lock; meanwhile another records the response, a little later."""
    [payout_id], held = world.leased_submission(1)
    world.clock.moment = datetime.now(UTC)  # the first sending has the database's time
    record_later(world, held, accepted_payment(world, held, "pay_race"))
    world.clock.advance(seconds=-1.5)
    update_later(world, "pay_race", "completed")
    assert summarize(timeline_of(world, payout_id))[-5:] == [
        "provider_answer accepted",
        "transition completed",
        "transfer settle",
        "transfer fee",
        "customer_event payout.succeeded",
    ]


@pytest.mark.parametrize(
    ("sent", "rail", "arrives"),
    [
        ("2026-02-06T17:00", Rail.STANDARD, "2026-02-12T17:00:00"),  # a Friday
        ("2026-02-07T17:00", Rail.STANDARD, "2026-02-13T17:00:00"),  # a Saturday
        ("2026-02-07T17:00", Rail.SAME_DAY, "2026-02-09T23:59:59"),
        ("2026-02-09T17:00", Rail.SAME_DAY, "2026-02-09T23:59:59"),
        ("2026-02-07T17:00", Rail.INSTANT, "2026-02-07T17:00:30"),
    ],
)
def test_estimated_arrival_counts_business_days(sent: str, rail: Rail, arrives: str) -> None:
    moment = datetime.fromisoformat(sent).replace(tzinfo=UTC)
    assert estimate_arrival(rail, moment).by.isoformat() == f"{arrives}+00:00"
    assert add_business_days(moment, 5).weekday() < 5
