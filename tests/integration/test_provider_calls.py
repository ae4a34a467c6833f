"""Every response of the provider becomes an outcome, and a bad one affects no other call."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from shared.payouts import lookup
from shared.payouts.submission_leases import LeasedSubmission, claim_submissions
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
    ("response", "outcome"),
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
def test_every_response_becomes_an_outcome(
    settings: Settings, response: tuple[int, dict[str, str], bytes], outcome: type
) -> None:
    with client_of_stub(settings, lambda _: response) as (client, _):
        assert isinstance(client.call(GET), outcome)


def test_nul_characters_are_removed_from_error_messages(settings: Settings) -> None:
    """Postgres can't store them."""
    response = provider_response({"code": "BAD\0CODE", "message": "a\0b"}, 422)
    with client_of_stub(settings, lambda _: response) as (client, _):
        assert client.call(GET) == Rejected("BADCODE", "ab")


def test_an_unreachable_provider_is_an_unknown_outcome(settings: Settings, engine: sa.Engine) -> None:
    client = PaystreamClient(settings, CallBudget(settings, engine))
    assert isinstance(client.call(GET), Unknown)
    client.close()


def test_a_call_is_not_sent_after_its_deadline(settings: Settings) -> None:
    with client_of_stub(settings, lambda _: provider_response({})) as (client, requests):
        assert isinstance(client.call(GET._replace(send_deadline=0.0)), Unknown)
        assert requests == []


def test_an_outcome_that_cannot_be_recorded_affects_no_other(world: World, settings: Settings) -> None:
    """Of five instant payouts, one gets a payment id that the database rejects."""
    payout_ids = world.accepted(5, Rail.INSTANT)
    first = public_id(SUBMISSION, uuid.UUID(int=0))

    def respond(request: ReceivedRequest) -> tuple[int, dict[str, str], bytes]:
        nonlocal first
        body = json.loads(request.body)
        if first.endswith("0" * 26):
            first = str(request.key)
        payment_id = "pay_\0broken" if request.key == first else f"pay_{request.key}"
        return provider_response({**body, "id": payment_id, "status": "created"})

    submissions = [
        row[0] for row in world.rows("SELECT submission_id FROM payouts WHERE id = ANY(:ids)", ids=payout_ids)
    ]
    with world.engine.begin() as connection:
        leased = claim_submissions(connection, submissions, lease_seconds=60)  # type: ignore[arg-type]
    with client_of_stub(settings, respond) as (client, _):
        task_sender = TaskSender(settings)
        send_leased(Context(settings, world.engine, task_sender, client, SystemClock()), leased)
        task_sender.close()
    statuses = world.rows("SELECT status FROM submissions WHERE id = ANY(:ids)", ids=submissions)
    assert sorted(str(row[0]) for row in statuses) == ["accepted"] * 4 + ["prepared"]


def submission_with_expired_key(kind: SubmissionKind) -> LeasedSubmission:
    """Return a submission whose idempotency key may have expired at the provider."""
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
def test_a_rejected_lookup_is_not_a_rejected_payment(settings: Settings, kind: SubmissionKind) -> None:
    """The provider may have paid."""
    with client_of_stub(settings, lambda _: provider_response({"code": "NOT_FOUND", "message": "no"}, 404)) as (
        client,
        _,
    ):
        assert isinstance(lookup.find_payment(client, submission_with_expired_key(kind)), Unknown)


def test_a_lookup_reads_every_page_back_to_the_first_attempt(settings: Settings) -> None:
    """Found on page three, or not found only after the last page that matters."""
    leased = submission_with_expired_key(SubmissionKind.BATCH)
    name = public_id(SUBMISSION, leased.id)

    def pages(wanted: str) -> Responder:
        def respond(request: ReceivedRequest) -> tuple[int, dict[str, str], bytes]:
            if "/batches/" in request.path:
                return provider_response({"id": "batch_3", "payments": []})
            number = int(request.path.partition("cursor=")[2] or 0)
            made = leased.first_sent_at + timedelta(hours=3 - 2 * number)
            entry = {"id": f"batch_{number}", "name": wanted if number == 2 else "x", "createdAt": made.isoformat()}
            return provider_response([entry], nextCursor=str(number + 1))

        return respond

    with client_of_stub(settings, pages(name)) as (client, _):
        assert lookup.find_payment(client, leased) == Accepted({"id": "batch_3", "payments": []})
    with client_of_stub(settings, pages("another")) as (client, requests):
        assert lookup.find_payment(client, leased) is None
        assert len(requests) == 4
