"""A payout's timeline: everything that is recorded, in the order of cause and effect, and what comes next."""

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


def told(world: World, payout_id: uuid.UUID, now: datetime | None = None) -> Timeline:
    """The payout's timeline, in order."""
    with world.engine.connect() as connection:
        found = load_timeline(connection, world.wallet_id, payout_id, now or world.clock.now())
    assert found is not None
    return found


def story(found: Timeline) -> list[str]:
    """Each event in a word or two."""
    keys = {"transition": "to", "transfer": "type", "provider_answer": "answer", "customer_event": "event"}
    return [" ".join([one.kind, str(one.details.get(keys.get(one.kind, ""), ""))]).strip() for one in found.events]


def record(world: World, held: Any, outcome: Any) -> None:
    """What the provider answers, a moment later."""
    world.clock.advance(seconds=1)
    with world.engine.begin() as connection:
        provider_results.record_outcome(connection, held, outcome, world.clock.now(), poll_after=timedelta(days=4))


def says(world: World, payment_id: str, state: str, **more: Any) -> None:
    """The provider's word on a payment, a moment later."""
    world.clock.advance(seconds=1)
    values: dict[str, Any] = {"amount_cents": 44_750, "failure_code": None, "failure_reason": None, **more}
    with world.engine.begin() as connection:
        settle_payouts(
            connection, [PaymentUpdate(state, payment_id, None, source="webhook", **values)], world.clock.now()
        )


def answer_for(world: World, held: Any, payment_id: str) -> Accepted:
    request = held.request
    return Accepted(
        {"id": payment_id, "recipientId": request["recipientId"], "amount": request["amount"], "status": "created"}
    )


def test_one_transaction_is_told_in_the_order_of_cause_and_effect(world: World) -> None:
    """An instant payout takes three steps at the same instant."""
    [payout_id] = world.accepted(1, Rail.INSTANT)
    found = told(world, payout_id)
    assert story(found) == [
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


def test_unclear_answers_are_all_told_and_no_host_is_named(world: World) -> None:
    """Each with its time; asked again under the same key, until Paystream accepts it."""
    [payout_id], held = world.leased_submission(1)
    record(world, held, Unknown("ClientConnectorError: Cannot connect to host paystream.internal:443"))
    found = told(world, payout_id)
    assert found.next is not None
    assert "paystream.internal" not in str(found)
    assert "asked again with the same key" in found.next.sentence
    assert found.next.by == world.clock.now() + timedelta(seconds=1)
    for outcome in (Throttled(5.0), Unknown("401 UNAUTHORIZED: bad key psk_live_secret"), None):
        world.execute("UPDATE submissions SET lease_token = :t WHERE id = :id", id=held.id, t=held.token)
        record(world, held, outcome or answer_for(world, held, "pay_unclear"))
    found = told(world, payout_id)
    assert "psk_live" not in str(found)
    assert [line for line in story(found) if line.startswith("provider_answer")] == [
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


def test_only_so_many_unclear_answers_are_kept(world: World) -> None:
    """The newest; however long an outage lasts, the row does not grow."""
    _, held = world.leased_submission(1)
    for number in range(submission_leases.UNCLEAR_ANSWERS_MAX + 2):
        world.execute("UPDATE submissions SET lease_token = :t WHERE id = :id", id=held.id, t=held.token)
        record(world, held, Unknown(f"no answer within {number} s"))
    [(kept,)] = world.rows("SELECT unclear_answers FROM submissions WHERE id = :id", id=held.id)
    assert isinstance(kept, list)
    assert len(kept) == submission_leases.UNCLEAR_ANSWERS_MAX
    assert (kept[0]["message"], kept[-1]["message"]) == ("no answer within 2 s", "no answer within 51 s")


def test_a_refused_batch_is_told_to_each_of_its_payouts_alone(world: World) -> None:
    """Refused together, sent again alone; nobody reads of the other."""
    (first, second), held = world.leased_submission(2)
    record(world, held, Rejected("VALIDATION_ERROR", "no"))
    found = told(world, first)
    assert story(found)[-4:] == ["transition processing", "submission", "provider_answer rejected", "submission"]
    assert "sent again with fewer others" in str(found)
    assert str(second) not in str(found)


def test_each_attempt_keeps_its_own_failure(world: World) -> None:
    """After a retry the payout has none any more; its timeline has."""
    [payout_id], held = world.leased_submission(1)
    record(world, held, answer_for(world, held, "pay_attempts"))
    says(world, "pay_attempts", "failed", failure_code="BANK_REJECTED", failure_reason="Account closed")
    found = told(world, payout_id)
    assert story(found)[-3:] == ["transition failed", "transfer release", "customer_event payout.failed"]
    assert found.next is not None
    assert found.next.kind == "customer"
    with world.engine.begin() as connection:
        retry_wallet_payouts(connection, world.wallet_id, [payout_id], world.clock.now(), grace=GRACE)
    found = told(world, payout_id)
    assert story(found)[-2:] == ["transition queued", "transfer reserve"]
    failed = next(event for event in found.events if event.details.get("to") == "failed")
    assert failed.title == "Failed: Account closed"
    assert failed.details["failure"] == {"code": "BANK_REJECTED", "message": "Account closed"}
    assert found.next is not None
    assert (found.next.kind, found.next.by) == ("submission", world.clock.now() + GRACE)


def test_a_contradiction_is_told_with_its_time_and_waits_for_a_person(world: World) -> None:
    """Held; also before it was held, it was asked about."""
    [payout_id], held = world.leased_submission(1)
    record(world, held, answer_for(world, held, "pay_held"))
    world.clock.advance(days=4)
    with world.engine.begin() as connection:
        poll.start_polls(connection, [payout_id], world.clock.now(), first_seconds=60)
    says(world, "pay_held", "completed", amount_cents=1)
    found = told(world, payout_id)
    assert story(found)[-2:] == ["poll", "hold"]
    assert found.events[-1].at == world.clock.now()
    assert found.next is not None
    assert (found.next.kind, found.next.by) == ("person", None)


def test_a_completed_payout_may_come_back_for_a_week(world: World) -> None:
    """By ACH; then nothing is expected any more."""
    [payout_id] = world.queued(1)
    world.end([payout_id], PayoutStatus.COMPLETED)
    found = told(world, payout_id)
    assert story(found)[-4:] == [
        "transition completed",
        "transfer settle",
        "transfer fee",
        "customer_event payout.succeeded",
    ]
    assert found.next is not None
    assert found.next.kind == "return"
    assert told(world, payout_id, world.clock.now() + timedelta(days=8)).next is None


def test_the_newest_thousand_events_are_told(world: World) -> None:
    """And that there are older ones."""
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
    found = told(world, payout_id)
    assert (len(found.events), found.truncated) == (TIMELINE_EVENTS_MAX, True)
    assert found.events[-1].at == world.clock.now() + timedelta(seconds=TIMELINE_EVENTS_MAX)
    assert "transition validated" not in story(found)


def test_another_wallets_webhooks_are_not_told(world: World, engine: sa.Engine) -> None:
    """Whatever a webhook of theirs names; and their payout has no timeline for us."""
    [payout_id], stranger = world.accepted(1), World(engine)
    world.execute(
        """
        INSERT INTO provider_events (id, event_key, body_sha256, type, payout_id, wallet_id, body, status, received_at)
        VALUES (gen_random_uuid(), :key, '', 'payment.completed', :id, :wallet_id, '', 'mismatch', :now)
        """,
        key=uuid.uuid4().hex,
        id=payout_id,
        wallet_id=stranger.wallet_id,
        now=world.clock.now(),
    )
    assert "provider_webhook" not in story(told(world, payout_id))
    with engine.connect() as connection:
        assert load_timeline(connection, stranger.wallet_id, payout_id, world.clock.now()) is None


def test_a_step_does_not_come_before_what_led_to_it(world: World) -> None:
    """One worker reads its clock and waits for the lock; another records the answer meanwhile, a little later."""
    [payout_id], held = world.leased_submission(1)
    world.clock.moment = datetime.now(UTC)  # the first sending has the database's time
    record(world, held, answer_for(world, held, "pay_race"))
    world.clock.advance(seconds=-1.5)
    says(world, "pay_race", "completed")
    assert story(told(world, payout_id))[-5:] == [
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
def test_arrivals_count_business_days(sent: str, rail: Rail, arrives: str) -> None:
    """Monday to Friday."""
    moment = datetime.fromisoformat(sent).replace(tzinfo=UTC)
    assert estimate_arrival(rail, moment).by.isoformat() == f"{arrives}+00:00"
    assert add_business_days(moment, 5).weekday() < 5
