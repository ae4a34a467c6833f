"""Submission: dead workers, silent providers, late responses."""

import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from shared.payouts import poll, submissions
from shared.payouts.lifecycle import Move, transition_payouts
from shared.payouts.provider_results import RecordedOutcome, mark_unresolved, record_outcome
from shared.payouts.retry import retry_wallet_payouts
from shared.payouts.submission_leases import LeasedSubmission, claim_submissions
from shared.platform.ids import PAYOUT, public_id
from shared.platform.settings import Settings
from shared.platform.task_queue import SEND_INSTANT_SUBMISSIONS, Task, TaskSender
from shared.provider.call_budget import CallBudget
from shared.provider.client import PaystreamClient
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Throttled, Unknown
from shared.schema.payouts import PayoutStatus as S
from shared.schema.payouts import Rail
from tests.support.provider_steps import accepted_answer
from tests.support.world import GRACE, World
from workers.context import Context
from workers.payouts import submit_payouts

POLL_AFTER = timedelta(minutes=1)


def record(world: World, held: LeasedSubmission, outcome: CallOutcome) -> RecordedOutcome:
    """Record an outcome, committed."""
    with world.engine.begin() as connection:
        return record_outcome(connection, held, outcome, world.clock.now(), poll_after=POLL_AFTER)


def claim(world: World, submission_ids: list[uuid.UUID], lease_seconds: float = 60) -> list[LeasedSubmission]:
    """Claim submissions, committed."""
    with world.engine.begin() as connection:
        return claim_submissions(connection, submission_ids, lease_seconds=lease_seconds)


def expire_lease(world: World, submission_id: uuid.UUID) -> None:
    """Let the lease expire."""
    world.execute(
        "UPDATE submissions SET lease_expires_at = clock_timestamp() - interval '1 s' WHERE id = :id", id=submission_id
    )


def test_submission_is_committed_before_the_call(world: World) -> None:
    """Key and request are stored, the payouts are processing, and the row is due when the lease expires."""
    payout_ids, held = world.leased_submission(3)
    [(status, request, due)] = world.rows(
        "SELECT status, request, next_action_at >= lease_expires_at FROM submissions WHERE id = :id", id=held.id
    )
    assert (status, request, due) == ("prepared", held.request, True)
    assert world.statuses(payout_ids) == ["processing"] * 3
    assert [payment["amount"] for payment in held.request["payments"]] == [44_750] * 3


def test_submission_of_a_dead_worker_is_sent_again_with_the_same_key(world: World) -> None:
    """It can't be claimed during the lease; afterwards it goes out with the same id and request."""
    _, held = world.leased_submission()
    assert claim(world, [held.id]) == []
    expire_lease(world, held.id)
    [again] = claim(world, [held.id])
    assert (again.id, again.request) == (held.id, held.request)
    assert again.token != held.token
    assert again.call().idempotency_key == held.call().idempotency_key


def due_at(world: World, payout_id: uuid.UUID) -> object:
    """When the payout is due."""
    [(at,)] = world.rows("SELECT next_action_at FROM payouts WHERE id = :id", id=payout_id)
    return at


def prepared_with_poll(world: World) -> tuple[uuid.UUID, LeasedSubmission]:
    """A payout with a first poll, and its leased submission."""
    [payout_id] = world.queued()
    with world.engine.begin() as connection:
        now = world.clock.now()
        prepared = submissions.prepare_submissions(
            connection, [payout_id], now, reason="test", poll_after=lambda _: POLL_AFTER
        )
        [held] = claim_submissions(connection, prepared.submission_ids, lease_seconds=60)
    return payout_id, held


@pytest.mark.parametrize(("seconds", "written_anew"), [(1, False), (50, True), (90, True)])
def test_first_poll_is_set_with_the_submission(world: World, seconds: int, written_anew: bool) -> None:
    """A prompt response keeps it; a late one postpones it."""
    payout_id, held = prepared_with_poll(world)
    noted = world.clock.now() + POLL_AFTER
    assert due_at(world, payout_id) == noted
    world.clock.advance(seconds=seconds)
    record(world, held, accepted_answer(held))
    assert due_at(world, payout_id) == (world.clock.now() + POLL_AFTER if written_anew else noted)


def test_payout_without_a_response_is_not_polled(world: World) -> None:
    """The response makes it due."""
    payout_id, held = prepared_with_poll(world)
    with world.engine.begin() as connection:
        assert poll.start_polls(connection, [payout_id], world.clock.now(), first_seconds=60) == []
    assert due_at(world, payout_id) is None
    record(world, held, accepted_answer(held))
    assert due_at(world, payout_id) == world.clock.now() + POLL_AFTER


def test_worker_without_the_lease_changes_nothing(world: World) -> None:
    """Another worker has the lease when the late one records a rejection."""
    [payout_id], late = world.leased_submission()
    expire_lease(world, late.id)
    [current] = claim(world, [late.id])
    record(world, late, Rejected("BANK_REJECTED", "no"))
    assert world.statuses([payout_id]) == ["processing"]
    assert world.transfers(payout_id) == [("reserve", 45_000)]
    record(world, current, accepted_answer(current))
    assert world.rows("SELECT status FROM submissions WHERE id = :id", id=late.id) == [("accepted",)]


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Unknown("no answer within 10 s"), "unknown"),
        (Unknown("500 INTERNAL: boom"), "unknown"),
        (Accepted({"nonsense": True}), "unknown"),
        (Throttled(7.0), "prepared"),
    ],
)
def test_unknown_outcome_is_retried_with_the_same_key(world: World, outcome: CallOutcome, status: str) -> None:
    """The payout stays processing with its amount reserved."""
    [payout_id], held = world.leased_submission()
    record(world, held, outcome)
    [(found, due)] = world.rows(
        "SELECT status, next_action_at > :now FROM submissions WHERE id = :id", id=held.id, now=world.clock.now()
    )
    assert (found, due) == (status, True)
    assert world.statuses([payout_id]) == ["processing"]
    assert world.transfers(payout_id) == [("reserve", 45_000)]
    [again] = claim(world, [held.id])
    attempts = 1 if isinstance(outcome, Throttled) else 2  # what was throttled was not tried
    assert (again.id, again.request, again.attempts) == (held.id, held.request, attempts)


def test_rejection_fails_the_payout_and_releases_the_amount(world: World) -> None:
    [payout_id], held = world.leased_submission()
    record(world, held, Rejected("INVALID_RECIPIENT", "No such recipient"))
    assert world.statuses([payout_id]) == ["failed"]
    assert world.transfers(payout_id) == [("reserve", 45_000), ("release", 45_000)]
    assert world.events(payout_id) == ["payout.created", "payout.failed"]
    assert claim(world, [held.id]) == []
    world.assert_ledger_consistent()


def test_rejected_batch_is_split_until_the_payout_at_fault_is_alone(world: World) -> None:
    """The provider rejects one of five payouts: four are accepted and one fails, each once."""
    payout_ids, held = world.leased_submission(5)
    culprit = payout_ids[3]
    waiting, keys = [held], []
    while waiting:
        one = waiting.pop()
        keys.append(one.id)
        carried = {
            row[0] for row in world.rows("SELECT payout_id FROM submission_items WHERE submission_id = :id", id=one.id)
        }
        outcome = Rejected("INVALID_RECIPIENT", "no") if culprit in carried else accepted_answer(one)
        waiting += claim(world, record(world, one, outcome).submissions)
    assert len(set(keys)) == len(keys)
    assert world.statuses(payout_ids) == ["processing"] * 3 + ["failed"] + ["processing"]
    live = world.rows(
        """SELECT payout_id, count(*) FROM submission_items JOIN submissions ON submissions.id = submission_id
           WHERE payout_id = ANY(:ids) AND submissions.status = 'accepted' GROUP BY payout_id""",
        ids=payout_ids,
    )
    assert sorted(live) == sorted((payout_id, 1) for payout_id in payout_ids if payout_id != culprit)
    world.assert_ledger_consistent()


def test_response_with_another_amount_puts_payout_on_hold(world: World) -> None:
    payout_ids, held = world.leased_submission(2)
    answer = accepted_answer(held)
    answer.data["payments"][1]["amount"] += 1
    record(world, held, answer)
    wrong = world.rows(
        "SELECT held_reason IS NOT NULL, next_action_at IS NULL FROM payouts WHERE id = :id", id=payout_ids[1]
    )
    assert wrong == [(True, True)]
    assert world.transfers(payout_ids[1]) == [("reserve", 45_000)]


def test_response_in_another_order_is_matched_by_payout_id(world: World) -> None:
    payout_ids, held = world.leased_submission(4)
    answer = accepted_answer(held)
    answer.data["payments"].reverse()
    record(world, held, answer)
    names = {payment["id"]: payment["description"].split()[0] for payment in answer.data["payments"]}
    found = world.rows(
        "SELECT payout_id, provider_payment_id FROM submission_items WHERE submission_id = :id", id=held.id
    )
    assert len(found) == len(payout_ids)
    assert all(names[str(payment_id)] == public_id(PAYOUT, payout_id) for payout_id, payment_id in found)  # type: ignore[arg-type]


def test_expired_key_without_a_payment_is_unresolved(world: World) -> None:
    """Not failed: the amount stays reserved."""
    [payout_id], held = world.leased_submission()
    with world.engine.begin() as connection:
        mark_unresolved(connection, held, world.clock.now())
    assert world.rows("SELECT status, next_action_at FROM submissions WHERE id = :id", id=held.id) == [
        ("unresolved", None)
    ]
    assert world.statuses([payout_id]) == ["processing"]
    assert world.transfers(payout_id) == [("reserve", 45_000)]


def test_database_rejects_a_second_live_submission_of_an_attempt(world: World) -> None:
    [payout_id], held = world.leased_submission()
    with pytest.raises(sa.exc.IntegrityError, match="payout_id_attempt_live"):
        world.execute(
            """INSERT INTO submission_items (submission_id, position, payout_id, attempt, net_cents, recipient_id)
               VALUES (:id, 9, :payout_id, 1, 44750, 'rec_x')""",
            id=held.id,
            payout_id=payout_id,
        )


def test_instant_payouts_are_submitted_alone(world: World) -> None:
    [one, two] = world.accepted(2, Rail.INSTANT)
    kinds = world.rows(
        """SELECT kind, rail FROM submissions JOIN submission_items ON submission_id = submissions.id
           WHERE payout_id IN (:one, :two)""",
        one=one,
        two=two,
    )
    assert kinds == [("payment", "instant")] * 2


def test_late_rejection_of_an_old_attempt_does_not_change_the_new_one(world: World) -> None:
    """A webhook failed attempt 1 while its submission was unknown, alone or in a batch; then attempt 1 is rejected."""
    for count in (1, 3):
        payout_ids, first = world.leased_submission(count)
        record(world, first, Unknown("no answer"))
        with world.engine.begin() as connection:
            now = world.clock.now()
            moves = [Move(payout_ids[0], "webhook", failure_code="BANK_REJECTED")]
            transition_payouts(connection, moves, S.PROCESSING, S.FAILED, now)
            retry_wallet_payouts(connection, world.wallet_id, payout_ids[:1], now, grace=GRACE)
            second = submissions.prepare_submissions(connection, payout_ids[:1], now, reason="test").submission_ids
        [again] = claim(world, [first.id])
        recorded = record(world, again, Rejected("INVALID_RECIPIENT", "no"))
        assert world.statuses(payout_ids[:1]) == ["processing"]
        carried = world.rows(
            "SELECT payout_id FROM submission_items WHERE submission_id = ANY(:ids)", ids=recorded.submissions
        )
        assert (payout_ids[0],) not in carried
        assert world.rows("SELECT submission_id FROM payouts WHERE id = :id", id=payout_ids[0]) == [(second[0],)]
    world.assert_ledger_consistent()


def test_retried_instant_payouts_use_the_instant_queue(
    world: World, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are submitted by the actor for all rails, and sent by the one for instant payouts."""
    enqueued: dict[Task, list[uuid.UUID]] = {}
    task_sender = TaskSender(settings)
    monkeypatch.setattr(task_sender, "enqueue", lambda task, ids: enqueued.setdefault(task, []).extend(ids))
    context = Context(
        settings, world.engine, task_sender, PaystreamClient(settings, CallBudget(settings, world.engine)), world.clock
    )
    payout_ids, now = world.accepted(2, Rail.INSTANT), world.clock.now()
    with world.engine.begin() as connection:
        moves = [Move(payout_id, "refused", failure_code="BANK_REJECTED") for payout_id in payout_ids]
        transition_payouts(connection, moves, S.PROCESSING, S.FAILED, now)
        retry_wallet_payouts(connection, world.wallet_id, payout_ids, now, grace=GRACE)
    submit_payouts(context, payout_ids)
    assert set(world.statuses(payout_ids)) == {"processing"}
    written = world.rows("SELECT submission_id FROM payouts WHERE id = ANY(:ids)", ids=payout_ids)
    assert {task: set(ids) for task, ids in enqueued.items() if ids} == {
        SEND_INSTANT_SUBMISSIONS: {row[0] for row in written}
    }
    task_sender.close()
    context.paystream.close()
