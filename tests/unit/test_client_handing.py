"""The same content has the same keys, whatever it is wrapped in; a batch that is there decides what is left to do."""

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


def parts(content: str, urgency: str | None = None) -> list[BatchDraft]:
    return batch_drafts.draft_batches(
        settlement_file.parse_settlement(csv_table.parse_csv(content.encode()), urgency).rows, ROSTER
    )


def first_key(content: str, urgency: str | None = None) -> str:
    (part,) = parts(content, urgency)
    return batch_drafts.idempotency_keys(part)[0]


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
def test_the_same_payments_have_the_same_key(same: str) -> None:
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
def test_other_payments_have_another_key(other: str) -> None:
    assert first_key(other) != first_key(CONTENT)


def test_the_key_depends_on_the_urgency_and_fits_into_a_header() -> None:
    assert first_key(CONTENT, "instant") != first_key(CONTENT)
    assert len(first_key(CONTENT)) < 255
    assert first_key(CONTENT).isascii()


def test_each_urgency_becomes_a_batch() -> None:
    content = "driver,amount,urgency\nOVN-1,1.00,instant\nOVN-2,2.00,\nOVN-3,3.00,instant\n"
    found = parts(content)
    assert [(part.urgency, part.total_cents) for part in found] == [("instant", 400), ("standard", 200)]
    assert batch_drafts.batch_body(found[0], NOW, of_several=True)["name"] == "payday (instant)"


def test_a_body_refuses_duplicates_and_has_nothing_that_was_left_blank() -> None:
    (part,) = parts(CONTENT)
    assert batch_drafts.batch_body(part, NOW, of_several=False) == {
        "name": "payday",
        "urgency": "standard",
        "refuseDuplicates": True,
        "payouts": [
            {"driverId": "drv_1", "amount": 100, "loadId": "L-1", "description": "one"},
            {"driverId": "drv_2", "amount": 250, "description": "two"},
        ],
    }
    again = batch_drafts.batch_body(part, NOW._replace(at=FRIDAY, duplicate_reason="lost check"), of_several=False)
    assert again["scheduledFor"] == "2026-11-27T23:00:00+00:00"
    assert again["payouts"][0].items() >= {"allowDuplicate": True, "duplicateReason": "lost check"}.items()
    assert "allowDuplicate" not in again["payouts"][1]


QUEUED: dict[str, Any] = {"status": "queued", "scheduledFor": None}
SCHEDULED = QUEUED | {"scheduledFor": "2026-11-27T23:00:00Z"}
SHORT = {"status": "failed", "scheduledFor": None, "failure": {"code": "INSUFFICIENT_FUNDS"}}


@pytest.mark.parametrize(
    ("batch", "wish", "expected"),
    [
        (QUEUED, NOW, NextStep.RELEASE),
        (QUEUED, NOW._replace(hold=True), NextStep.REST),
        (QUEUED, NOW._replace(at=FRIDAY), NextStep.RESCHEDULE),
        (SCHEDULED, NOW._replace(at=FRIDAY), NextStep.REST),
        (SCHEDULED, NOW._replace(at=FRIDAY.replace(hour=22)), NextStep.DIFFERS),
        (SCHEDULED, NOW, NextStep.DIFFERS),
        (SCHEDULED, NOW._replace(hold=True), NextStep.DIFFERS),
        (SHORT, NOW, NextStep.RELEASE),
        (SHORT | {"scheduledFor": "2026-11-20T23:00:00Z"}, NOW, NextStep.RELEASE),
        ({"status": "processing", "scheduledFor": None}, NOW, NextStep.FOLLOW),
        ({"status": "completed", "scheduledFor": None}, NOW._replace(hold=True), NextStep.FOLLOW),
        ({"status": "failed", "scheduledFor": None}, NOW, NextStep.FOLLOW),
    ],
)
def test_what_is_left_to_do_with_a_batch_that_is_there(
    batch: dict[str, Any], wish: PaymentTerms, expected: NextStep
) -> None:
    assert batch_drafts.next_step(batch, wish) is expected


class Keyring:
    """An API of which only what its keys have made is known: a batch, or a refusal."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.posted: list[str] = []

    async def batch_made_by(self, key: str) -> Any:
        found = self.answers.get(key)
        return found if isinstance(found, dict) else None

    async def batch(self, batch_id: str) -> Any:
        return next(found for found in self.answers.values() if isinstance(found, dict) and found["id"] == batch_id)

    async def create(self, body: Any, key: str) -> ApiResponse:
        self.posted.append(key)
        found = self.answers.get(key)
        if isinstance(found, ApiRejected):
            raise found
        made = found or {"id": f"batch_of_{key[-1]}", "status": "queued"}
        self.answers[key] = made
        return ApiResponse(made, replayed=found is not None, tries=1)


def refused(code: str, *, replayed: bool) -> ApiRejected:
    return ApiRejected(409, code, "No", {}, "", replayed=replayed)


async def handed_in(api: Any) -> tuple[str, bool]:
    """The batch that this content is in, and whether it was there before: as the command looks and hands in."""
    (part,) = parts(CONTENT)
    found = await batch_drafts.find_earlier_batch(api, part)
    if found.batch is not None:
        return found.batch["id"], True
    done = await batch_drafts.create_batch_once(api, part, {}, found.free)
    return done.batch["id"], done.before


def keys() -> list[str]:
    (part,) = parts(CONTENT)
    return batch_drafts.idempotency_keys(part)


def run(api: Keyring) -> tuple[str, bool]:
    return asyncio.run(handed_in(api))


def test_content_that_is_there_is_not_handed_in_again() -> None:
    api = Keyring()
    assert run(api) == ("batch_of_1", False)
    assert run(api) == ("batch_of_1", True)
    assert len(api.posted) == 1


def test_an_old_refusal_or_a_canceled_batch_does_not_stand_in_the_way() -> None:
    first, second, third, *_ = keys()
    api = Keyring(**{first: refused("KYC_PENDING", replayed=True), second: {"id": "batch_off", "status": "canceled"}})
    assert run(api) == ("batch_of_3", False)
    # and once it is there, the keys before it are not used again even when they are forgotten
    forgotten = Keyring(**{third: api.answers[third]})
    assert run(forgotten) == ("batch_of_3", True)
    assert forgotten.posted == []


def test_a_refusal_of_now_is_told() -> None:
    api = Keyring(**{keys()[0]: refused("KYC_PENDING", replayed=False)})
    with pytest.raises(ApiRejected, match="KYC_PENDING"):
        run(api)


def test_a_key_that_another_run_has_just_used_with_another_name_is_its_batch() -> None:
    first = keys()[0]

    class Overtaken(Keyring):
        async def create(self, body: Any, key: str) -> ApiResponse:
            self.answers[key] = {"id": "batch_of_other", "status": "queued"}
            raise refused("IDEMPOTENCY_KEY_REUSED", replayed=False)

    api = Overtaken()
    assert run(api) == ("batch_of_other", True)
    assert list(api.answers) == [first]
