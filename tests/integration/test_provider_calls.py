"""Calls to the provider: whatever a stranger answers becomes an outcome, and no answer costs another one's."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from shared.payouts import lookup
from shared.payouts import submissions as submit
from shared.payouts.submissions import LeasedSubmission
from shared.platform.clock import SystemClock
from shared.platform.ids import SUBMISSION, public_id
from shared.platform.settings import Settings
from shared.platform.task_queue import TaskSender
from shared.provider.call_budget import CallBudget
from shared.provider.client import PaystreamClient
from shared.provider.outcomes import Accepted, Rejected, Throttled, Unknown
from shared.provider.wire import ProviderCall
from shared.schema.payouts import Rail, SubmissionKind
from tests.integration.stub_provider import ReceivedRequest, Responder, client_of_stub, provider_response
from tests.support.world import World
from workers.context import Context
from workers.submissions import send_leased

GET = ProviderCall("sandbox", "GET", "/payments/pay_1")


@pytest.mark.parametrize(
    ("answered", "outcome"),
    [
        (provider_response({"id": "x"}), Accepted),
        (provider_response({"code": "INVALID_RECIPIENT", "message": "no"}, 422), Rejected),
        ((429, {"Retry-After": "3"}, b""), Throttled),
        ((429, {"Retry-After": "nan"}, b""), Throttled),
        ((200, {}, b'{"data": "\xff"}'), Unknown),
        ((200, {}, b"not json"), Unknown),
        ((200, {}, b"[" * 100_000), Unknown),
        ((302, {"Location": "http://127.0.0.1:9/"}, b""), Unknown),
        ((500, {}, b""), Unknown),
    ],
)
def test_whatever_comes_back_is_an_outcome(
    settings: Settings, answered: tuple[int, dict[str, str], bytes], outcome: type
) -> None:
    """Never an exception."""
    with client_of_stub(settings, lambda _: answered) as (client, _):
        assert isinstance(client.call(GET), outcome)


def test_words_that_the_database_cannot_hold_are_cleaned(settings: Settings) -> None:
    """A NUL in an error message is no reason to lose the answer."""
    said = provider_response({"code": "BAD\0CODE", "message": "a\0b"}, 422)
    with client_of_stub(settings, lambda _: said) as (client, _):
        assert client.call(GET) == Rejected("BADCODE", "ab")


def test_nobody_there_is_unknown_and_a_call_after_its_lease_is_not_made(settings: Settings, engine: sa.Engine) -> None:
    """Unknown both, and the second never reaches the provider."""
    client = PaystreamClient(settings, CallBudget(settings, engine))
    assert isinstance(client.call(GET), Unknown)
    client.close()
    with client_of_stub(settings, lambda _: provider_response({})) as (client, asked):
        assert isinstance(client.call(GET._replace(send_deadline=0.0)), Unknown)
        assert asked == []


def test_one_answer_that_cannot_be_recorded_costs_no_other(world: World, settings: Settings) -> None:
    """Given five instant payouts of which one gets an answer that the database refuses, the other four are recorded."""
    payout_ids = world.accepted(5, Rail.INSTANT)
    first = public_id(SUBMISSION, uuid.UUID(int=0))

    def answering(asked: ReceivedRequest) -> tuple[int, dict[str, str], bytes]:
        nonlocal first
        body = json.loads(asked.body)
        if first.endswith("0" * 26):
            first = str(asked.key)
        payment_id = "pay_\0broken" if asked.key == first else f"pay_{asked.key}"
        return provider_response({**body, "id": payment_id, "status": "created"})

    submissions = [
        row[0] for row in world.rows("SELECT submission_id FROM payouts WHERE id = ANY(:ids)", ids=payout_ids)
    ]
    with world.engine.begin() as connection:
        held = submit.claim_submissions(connection, submissions, lease_seconds=60)  # type: ignore[arg-type]
    with client_of_stub(settings, answering) as (client, _):
        task_sender = TaskSender(settings)
        send_leased(Context(settings, world.engine, task_sender, client, SystemClock()), held)
        task_sender.close()
    statuses = world.rows("SELECT status FROM submissions WHERE id = ANY(:ids)", ids=submissions)
    assert sorted(str(row[0]) for row in statuses) == ["accepted"] * 4 + ["prepared"]


def forgotten(kind: SubmissionKind) -> LeasedSubmission:
    """A submission whose key the provider may have forgotten."""
    sent = datetime.now(UTC) - timedelta(hours=30)
    return LeasedSubmission(
        uuid.uuid4(),
        uuid.uuid4(),
        "sandbox",
        kind,
        Rail.STANDARD,
        {"recipientId": "rec_1"},
        uuid.uuid4(),
        sent,
        sent_for_seconds=108_000.0,
        attempts=9,
        send_deadline=0.0,
    )


@pytest.mark.parametrize("kind", SubmissionKind)
def test_a_refused_question_is_no_rejection_of_the_payment(settings: Settings, kind: SubmissionKind) -> None:
    """The provider may well have paid."""
    with client_of_stub(settings, lambda _: provider_response({"code": "NOT_FOUND", "message": "no"}, 404)) as (
        client,
        _,
    ):
        assert isinstance(lookup.find_payment(client, forgotten(kind)), Unknown)


def test_a_look_up_reads_every_page_back_to_the_first_sending(settings: Settings) -> None:
    """Found on page three, or not found only after the last page that matters."""
    held = forgotten(SubmissionKind.BATCH)
    name = public_id(SUBMISSION, held.id)

    def pages(wanted: str) -> Responder:
        def answering(asked: ReceivedRequest) -> tuple[int, dict[str, str], bytes]:
            if "/batches/" in asked.path:
                return provider_response({"id": "batch_3", "payments": []})
            number = int(asked.path.partition("cursor=")[2] or 0)
            made = held.first_sent_at + timedelta(hours=3 - 2 * number)
            entry = {"id": f"batch_{number}", "name": wanted if number == 2 else "x", "createdAt": made.isoformat()}
            return provider_response([entry], nextCursor=str(number + 1))

        return answering

    with client_of_stub(settings, pages(name)) as (client, _):
        assert lookup.find_payment(client, held) == Accepted({"id": "batch_3", "payments": []})
    with client_of_stub(settings, pages("another")) as (client, asked):
        assert lookup.find_payment(client, held) is None
        assert len(asked) == 4
