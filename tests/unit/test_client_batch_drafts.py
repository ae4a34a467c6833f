"""Idempotency keys depend on the payments only; an existing batch decides the next step."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.cli.client import batch_drafts, csv_table, settlement_file
from shared.cli.client.batch_drafts import BatchDraft, NextStep, PaymentTerms
from shared.cli.client.drivers import ApiDriver, DriverIndex
from shared.cli.client.errors import ApiRejected
from shared.cli.client.transport import ApiResponse

ROSTER = DriverIndex([ApiDriver(f"drv_{n}", f"OVN-{n}", f"Driver {n}", "active", "verified") for n in range(1, 4)])
CONTENT = "driver,amount,loadId,description\nOVN-1,1.00,L-1,one\nOVN-2,2.50,,two\n"
FRIDAY = datetime(2026, 11, 27, 23, tzinfo=UTC)
NOW = PaymentTerms("payday", None, hold=False, duplicate_reason=None)


def drafts(content: str, urgency: str | None = None) -> list[BatchDraft]:
    return batch_drafts.draft_batches(
        settlement_file.parse_settlement(csv_table.parse_csv(content.encode()), urgency).rows, ROSTER
    )


def first_key(content: str, urgency: str | None = None) -> str:
    (draft,) = drafts(content, urgency)
    return batch_drafts.idempotency_keys(draft)[0]


@pytest.mark.parametrize(
    "same",
    [
        "\ufeff" + CONTENT.replace("\n", "\r\n"),
        CONTENT.replace(",", ";"),
        CONTENT.replace("OVN-1", "drv_1"),
        "Description,Load ID,Driver,Amount USD,note\ntwo,,OVN-2,$2.50,x\n\none,L-1,OVN-1,1,y\n",
        "driver,amount_cents,load,description\nOVN-1,100,L-1,one\nOVN-2,250,,two\n",
        "driver,amount,loadId,description,urgency\nOVN-1,1.00,L-1,one,standard\nOVN-2,2.50,,two,\n",
    ],
)
def test_same_payments_have_the_same_key(same: str) -> None:
    assert first_key(same) == first_key(CONTENT)


@pytest.mark.parametrize(
    "other",
    [
        CONTENT.replace("1.00", "1.01"),
        CONTENT.replace("OVN-1", "OVN-3"),
        CONTENT.replace("L-1", "L-2"),
        CONTENT.replace("two", "three"),
        CONTENT + "OVN-3,1.00,L-3,\n",
        CONTENT.rsplit("\n", 2)[0] + "\n",
    ],
)
def test_different_payments_have_different_keys(other: str) -> None:
    assert first_key(other) != first_key(CONTENT)


def test_key_depends_on_urgency_and_fits_into_a_header() -> None:
    assert first_key(CONTENT, "instant") != first_key(CONTENT)
    assert len(first_key(CONTENT)) < 255
    assert first_key(CONTENT).isascii()


def test_each_urgency_becomes_one_batch() -> None:
    content = "driver,amount,urgency\nOVN-1,1.00,instant\nOVN-2,2.00,\nOVN-3,3.00,instant\n"
    found = drafts(content)
    assert [(draft.urgency, draft.total_cents) for draft in found] == [("instant", 400), ("standard", 200)]
    assert batch_drafts.batch_body(found[0], NOW, is_one_of_several=True)["name"] == "payday (instant)"


def test_body_rejects_duplicates_and_omits_blank_fields() -> None:
    (draft,) = drafts(CONTENT)
    assert batch_drafts.batch_body(draft, NOW, is_one_of_several=False) == {
        "name": "payday",
        "urgency": "standard",
        "refuseDuplicates": True,
        "payouts": [
            {"driverId": "drv_1", "amount": 100, "loadId": "L-1", "description": "one"},
            {"driverId": "drv_2", "amount": 250, "description": "two"},
        ],
    }
    again = batch_drafts.batch_body(
        draft, NOW._replace(scheduled_for=FRIDAY, duplicate_reason="lost check"), is_one_of_several=False
    )
    assert again["scheduledFor"] == "2026-11-27T23:00:00+00:00"
    assert again["payouts"][0].items() >= {"allowDuplicate": True, "duplicateReason": "lost check"}.items()
    assert "allowDuplicate" not in again["payouts"][1]


QUEUED: dict[str, Any] = {"status": "queued", "scheduledFor": None}
SCHEDULED = QUEUED | {"scheduledFor": "2026-11-27T23:00:00Z"}
SHORT = {"status": "failed", "scheduledFor": None, "failure": {"code": "INSUFFICIENT_FUNDS"}}


@pytest.mark.parametrize(
    ("batch", "terms", "expected"),
    [
        (QUEUED, NOW, NextStep.RELEASE),
        (QUEUED, NOW._replace(hold=True), NextStep.WAIT),
        (QUEUED, NOW._replace(scheduled_for=FRIDAY), NextStep.RESCHEDULE),
        (SCHEDULED, NOW._replace(scheduled_for=FRIDAY), NextStep.WAIT),
        (SCHEDULED, NOW._replace(scheduled_for=FRIDAY.replace(hour=22)), NextStep.CONFLICT),
        (SCHEDULED, NOW, NextStep.CONFLICT),
        (SCHEDULED, NOW._replace(hold=True), NextStep.CONFLICT),
        (SHORT, NOW, NextStep.RELEASE),
        (SHORT | {"scheduledFor": "2026-11-20T23:00:00Z"}, NOW, NextStep.RELEASE),
        ({"status": "processing", "scheduledFor": None}, NOW, NextStep.FOLLOW),
        ({"status": "completed", "scheduledFor": None}, NOW._replace(hold=True), NextStep.FOLLOW),
        ({"status": "failed", "scheduledFor": None}, NOW, NextStep.FOLLOW),
    ],
)
def test_next_step_of_existing_batch(batch: dict[str, Any], terms: PaymentTerms, expected: NextStep) -> None:
    assert batch_drafts.next_step(batch, terms) is expected


class FakeApi:
    """An API whose idempotency keys have a stored outcome: a batch or a rejection."""

    def __init__(self, **outcomes: Any) -> None:
        self.outcomes = outcomes
        self.posted: list[str] = []

    async def get_batch_by_key(self, key: str) -> Any:
        found = self.outcomes.get(key)
        return found if isinstance(found, dict) else None

    async def get_batch(self, batch_id: str) -> Any:
        return next(found for found in self.outcomes.values() if isinstance(found, dict) and found["id"] == batch_id)

    async def create_batch(self, body: Any, key: str) -> ApiResponse:
        self.posted.append(key)
        found = self.outcomes.get(key)
        if isinstance(found, ApiRejected):
            raise found
        created = found or {"id": f"batch_of_{key[-1]}", "status": "queued"}
        self.outcomes[key] = created
        return ApiResponse(created, is_replay=found is not None, attempts=1)


def rejection(code: str, *, is_replay: bool) -> ApiRejected:
    return ApiRejected(409, code, "No", {}, "", is_replay=is_replay)


async def submit_async(api: Any) -> tuple[str, bool]:
    """Find or create the batch of CONTENT, as the command does; return its id and whether it existed before."""
    (draft,) = drafts(CONTENT)
    found = await batch_drafts.find_earlier_batch(api, draft)
    if found.batch is not None:
        return found.batch["id"], True
    created = await batch_drafts.create_batch_once(api, draft, {}, found.unused_keys)
    return created.batch["id"], created.existed_before


def keys() -> list[str]:
    (draft,) = drafts(CONTENT)
    return batch_drafts.idempotency_keys(draft)


def submit(api: FakeApi) -> tuple[str, bool]:
    return asyncio.run(submit_async(api))


def test_submitted_content_is_not_submitted_again() -> None:
    api = FakeApi()
    assert submit(api) == ("batch_of_1", False)
    assert submit(api) == ("batch_of_1", True)
    assert len(api.posted) == 1


def test_key_of_old_rejection_or_canceled_batch_is_skipped() -> None:
    first, second, third, *_ = keys()
    api = FakeApi(
        **{first: rejection("KYC_PENDING", is_replay=True), second: {"id": "batch_off", "status": "canceled"}}
    )
    assert submit(api) == ("batch_of_3", False)
    # and the batch is found even if the outcomes of the keys before it have expired
    expired = FakeApi(**{third: api.outcomes[third]})
    assert submit(expired) == ("batch_of_3", True)
    assert expired.posted == []


def test_new_rejection_is_raised() -> None:
    api = FakeApi(**{keys()[0]: rejection("KYC_PENDING", is_replay=False)})
    with pytest.raises(ApiRejected, match="KYC_PENDING"):
        submit(api)


def test_key_used_by_a_concurrent_run_gives_its_batch() -> None:
    first = keys()[0]

    class OvertakenApi(FakeApi):
        async def create_batch(self, body: Any, key: str) -> ApiResponse:
            self.outcomes[key] = {"id": "batch_of_other", "status": "queued"}
            raise rejection("IDEMPOTENCY_KEY_REUSED", is_replay=False)

    api = OvertakenApi()
    assert submit(api) == ("batch_of_other", True)
    assert list(api.outcomes) == [first]
