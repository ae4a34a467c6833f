"""Pay once per load: who asks again for a driver's load is warned, or refused, whichever way and however fast."""

import os
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.contract.customers import cancel_in_time, failed_payout, fund_and_register, run_concurrently
from tests.contract.payout_channels import CHANNELS, Outcome, post_payout
from tests.support import ledger
from tests.support.batches import PATH as BATCHES
from tests.support.batches import until_batch
from tests.support.customer import Customer
from tests.support.organization import Organization
from tests.support.polling import until
from tests.support.stack import Stack

CROWD = 20
ROUNDS = 3
REJECTED = {"description": "[simulate:fail:BANK_REJECTED]"}
TWICE = {"allowDuplicate": True, "duplicateReason": "Detention was paid on top"}


def _payout(driver_id: str, **more: object) -> dict[str, Any]:
    """For a load without a payout."""
    return {"driverId": driver_id, "amount": 10_000, "loadId": f"L-{uuid.uuid4().hex}", **more}


def _made_for(customer: Customer, payout: dict[str, Any]) -> list[str]:
    """The ids of the payouts there are for that driver and load."""
    items = customer.items("/api/v1/payouts", driverId=payout["driverId"])
    return [item["id"] for item in items if item["loadId"] == payout["loadId"]]


def _is_warned_of(outcome: Outcome, first_id: str | None) -> bool:
    (warning,) = outcome.warnings
    assert warning["message"]
    return (warning["code"], warning["payoutId"]) == ("DUPLICATE_LOAD", first_id)


def _is_refused_for(outcome: Outcome, first_id: str | None) -> bool:
    assert outcome.code == "DUPLICATE_PAYOUT", outcome
    return bool(outcome.details["payoutId"] == first_id)


@pytest.fixture(scope="module")
def john_id(three_drivers: list[str]) -> str:
    """A driver of `carrier`, whose policy is the default one: warn."""
    return three_drivers[0]


@pytest.fixture(scope="module")
def strict_organization(fast_stack: Stack) -> Organization:
    """A carrier whose policy is to refuse."""
    organization = Organization(fast_stack)
    organization.refuse_duplicate_loads()
    return organization


@pytest.fixture(scope="module")
def strict(strict_organization: Organization) -> Customer:
    """Its sandbox key."""
    return strict_organization.sandbox()


@pytest.fixture(scope="module")
def jane_id(strict: Customer) -> str:
    """A driver of `strict`, whose wallet has $100,000."""
    return fund_and_register(strict, 10_000_000)


# The policy `warn`


@pytest.mark.parametrize("way", CHANNELS)
def test_second_payout_for_a_load_is_made_and_warned_of(carrier: Customer, john_id: str, way: str) -> None:
    # Given a payout for a load: nothing to warn of
    payout = _payout(john_id)
    first = post_payout("single", carrier, payout)
    assert first.warnings == []
    # When the load is paid again, whichever way, for whatever amount
    second = post_payout(way, carrier, payout | {"amount": 20_000})
    # Then that is done, with the first one's id
    assert second.payout_id != first.payout_id
    assert _is_warned_of(second, first.payout_id)


@pytest.mark.parametrize("way", CHANNELS)
def test_first_payout_for_a_load_is_recognized_whichever_way_it_came(carrier: Customer, john_id: str, way: str) -> None:
    payout = _payout(john_id)
    first = post_payout(way, carrier, payout)
    assert first.warnings == []
    assert _is_warned_of(post_payout("single", carrier, payout), first.payout_id)


def test_load_twice_within_one_request_is_warned_of(carrier: Customer, john_id: str) -> None:
    # When a bulk, and a batch, has a load in its first and last payout
    payout = _payout(john_id)
    bulk = carrier.post("/api/v1/payouts/bulk", {"payouts": [payout, _payout(john_id), payout]}).data
    first, other, last = (result["item"] for result in bulk["results"])
    # Then the last is warned of, with the id of the first
    assert [item.get("warnings") or [] for item in (first, other)] == [[], []]
    assert [(warning["code"], warning["payoutId"]) for warning in last["warnings"]] == [("DUPLICATE_LOAD", first["id"])]
    payout = _payout(john_id)
    batch = carrier.post(BATCHES, {"name": "Twice", "payouts": [payout, _payout(john_id), payout]}).data
    payouts = carrier.get(f"{BATCHES}/{batch['id']}").data["payouts"]
    assert [(warning["index"], warning["code"], warning["payoutId"]) for warning in batch["warnings"]] == [
        (2, "DUPLICATE_LOAD", payouts[0]["id"])
    ]


def test_only_the_same_drivers_same_load_is_a_duplicate(carrier: Customer, three_drivers: list[str]) -> None:
    john_id, jane_id, _ = three_drivers
    payout = _payout(john_id)
    post_payout("single", carrier, payout)
    # Another driver's part of the load, another load, and no load at all are nothing to warn of
    for other in (payout | {"driverId": jane_id}, _payout(john_id)):
        assert post_payout("single", carrier, other).warnings == []
    without_load = {"driverId": john_id, "amount": 10_000}
    assert [post_payout("single", carrier, without_load).warnings for _ in range(2)] == [[], []]


@pytest.mark.parametrize("end", ["failed", "canceled", "returned"])
def test_load_that_was_not_paid_after_all_is_free_again(carrier: Customer, john_id: str, end: str) -> None:
    # Given a payout for a load that came to nothing
    payout = _payout(john_id)
    if end == "canceled":

        def new() -> list[str]:
            payout["loadId"] = f"L-{uuid.uuid4().hex}"
            return [str(post_payout("single", carrier, payout).payout_id)]

        cancel_in_time(carrier, "/api/v1/payouts/:id/cancel", new)
    else:
        tag = {"failed": "fail:BANK_REJECTED", "returned": "return:R03"}[end]
        first = post_payout("single", carrier, payout | {"description": f"[simulate:{tag}]"})
        carrier.until_payout(str(first.payout_id), end)
    # When the load is paid again, then that is the only payout for it
    second = post_payout("single", carrier, payout)
    assert second.warnings == []
    assert _is_warned_of(post_payout("single", carrier, payout), second.payout_id)


def test_completed_payout_for_a_load_is_recognized(carrier: Customer, john_id: str) -> None:
    payout = _payout(john_id)
    first = post_payout("single", carrier, payout)
    carrier.until_payout(str(first.payout_id), "completed")
    assert _is_warned_of(post_payout("single", carrier, payout), first.payout_id)


def test_retry_for_a_load_that_was_paid_since_is_warned_of(carrier: Customer, john_id: str) -> None:
    # Given a failed payout, whose load another one was made for
    load = f"L-{uuid.uuid4().hex}"
    broken = failed_payout(carrier, john_id, loadId=load)
    second = post_payout("single", carrier, _payout(john_id, loadId=load))
    # When it is retried
    answer = carrier.post(f"/api/v1/payouts/{broken}/retry", {}).data
    # Then that is done, and warned of
    assert answer["status"] == "queued"
    assert [(warning["code"], warning["payoutId"]) for warning in answer["warnings"]] == [
        ("DUPLICATE_LOAD", second.payout_id)
    ]


def test_retry_of_the_only_payout_for_a_load_is_nothing_to_warn_of(carrier: Customer, john_id: str) -> None:
    broken = failed_payout(carrier, john_id, loadId=f"L-{uuid.uuid4().hex}")
    assert not carrier.post(f"/api/v1/payouts/{broken}/retry", {}).data.get("warnings")


def test_of_many_at_once_all_but_one_are_warned(carrier: Customer, john_id: str) -> None:
    # When many pay the same load at the same instant, each way
    payout = _payout(john_id)
    ways = [CHANNELS[number % 4] for number in range(CROWD)]
    outcomes = run_concurrently(*[lambda way=way: post_payout(way, carrier, payout) for way in ways])
    # Then exactly one has no warning
    assert all(outcome.payout_id for outcome in outcomes)
    assert Counter(len(outcome.warnings) for outcome in outcomes) == {0: 1, 1: CROWD - 1}


# The policy `refuse`


@pytest.mark.parametrize("way", CHANNELS)
def test_second_payout_for_a_load_is_refused(strict: Customer, jane_id: str, way: str) -> None:
    # Given a payout for a load
    payout = _payout(jane_id)
    first = post_payout("single", strict, payout)
    # When the load is paid again, whichever way
    second = post_payout(way, strict, payout | {"amount": 20_000})
    # Then that is a conflict with the first one, and not made
    assert second.status == (200 if way == "bulk" else 409)
    assert _is_refused_for(second, first.payout_id)
    assert _made_for(strict, payout) == [first.payout_id]


def test_duplicate_in_a_bulk_spoils_no_neighbour(strict: Customer, jane_id: str) -> None:
    payout = _payout(jane_id)
    data = strict.post("/api/v1/payouts/bulk", {"payouts": [payout, payout, _payout(jane_id)]}).data
    assert [result["status"] for result in data["results"]] == ["success", "error", "success"]
    assert data["results"][1]["code"] == "DUPLICATE_PAYOUT"
    assert data["results"][1]["details"]["payoutId"] == data["results"][0]["item"]["id"]
    assert _made_for(strict, payout) == [data["results"][0]["item"]["id"]]


def test_load_twice_within_a_batch_refuses_it(strict: Customer, jane_id: str) -> None:
    payout = _payout(jane_id)
    answer = strict.post(BATCHES, {"name": "Twice", "payouts": [payout, _payout(jane_id), payout]})
    assert (answer.status, answer.error["code"]) == (409, "DUPLICATE_PAYOUT")
    assert [(item["index"], item["code"]) for item in answer.error["details"]["items"]] == [(2, "DUPLICATE_PAYOUT")]
    assert _made_for(strict, payout) == []


@pytest.mark.parametrize("way", CHANNELS)
def test_second_payout_is_made_for_a_reason(strict: Customer, jane_id: str, way: str) -> None:
    # Given a payout for a load
    payout = _payout(jane_id)
    first = post_payout("single", strict, payout)
    # When the load is paid again, and the request says that it knows, and why
    second = post_payout(way, strict, payout | TWICE)
    # Then it is made
    assert second.payout_id
    assert set(_made_for(strict, payout)) == {first.payout_id, second.payout_id}


@pytest.mark.parametrize("way", CHANNELS)
@pytest.mark.parametrize(
    "reason",
    [
        pytest.param({}, id="none"),
        pytest.param({"duplicateReason": ""}, id="empty"),
        pytest.param({"duplicateReason": "R" * 501}, id="501 letters"),
        pytest.param({"duplicateReason": 7}, id="a number"),
    ],
)
def test_second_payout_needs_a_reason(strict: Customer, jane_id: str, way: str, reason: dict[str, object]) -> None:
    # Even where there is no first one
    payout = _payout(jane_id)
    outcome = post_payout(way, strict, payout | {"allowDuplicate": True} | reason)
    assert (outcome.status, outcome.code) == (200 if way == "bulk" else 400, "VALIDATION_ERROR")
    assert outcome.details["field"].endswith("duplicateReason")
    assert _made_for(strict, payout) == []


def test_allow_duplicate_false_allows_none(strict: Customer, jane_id: str) -> None:
    payout = _payout(jane_id, allowDuplicate=False)
    first = post_payout("single", strict, payout)
    assert _is_refused_for(post_payout("single", strict, payout), first.payout_id)


def test_same_request_under_the_same_key_is_no_duplicate(strict: Customer, jane_id: str) -> None:
    # Given a payout asked for under a key
    payout, key = _payout(jane_id), uuid.uuid4().hex
    first = strict.post("/api/v1/payouts", payout, key)
    # When it is repeated, then the first answer comes again; under another key it is a duplicate
    assert strict.post("/api/v1/payouts", payout, key).data == first.data
    assert strict.post("/api/v1/payouts", payout, uuid.uuid4().hex).error["code"] == "DUPLICATE_PAYOUT"


def test_failed_payout_can_be_replaced_or_retried_not_both(strict: Customer, jane_id: str) -> None:
    # Given a failed payout, whose load another one was made for
    load = f"L-{uuid.uuid4().hex}"
    broken = failed_payout(strict, jane_id, loadId=load)
    second = post_payout("single", strict, _payout(jane_id, loadId=load))
    assert second.payout_id
    # When it is retried, alone or with others
    answer = strict.post(f"/api/v1/payouts/{broken}/retry", {})
    (result,) = strict.post("/api/v1/payouts/bulk/retry", {"payoutIds": [broken]}).data["results"]
    # Then that is a conflict with the other one, and it stays failed
    assert (answer.status, answer.error["code"]) == (409, "DUPLICATE_PAYOUT")
    assert answer.error["details"]["payoutId"] == second.payout_id
    assert (result["status"], result["code"]) == ("error", "DUPLICATE_PAYOUT")
    assert strict.payout(broken)["status"] == "failed"


@pytest.mark.parametrize("path", ["/api/v1/payouts", "/api/v1/payouts/instant"])
def test_of_many_at_once_one_is_paid(fast_stack: Stack, strict: Customer, jane_id: str, path: str) -> None:
    paid = []
    for _ in range(ROUNDS):
        # When many pay the same load at the same instant, and no Idempotency-Key protects them
        payout = _payout(jane_id)
        answers = run_concurrently(*[lambda payout=payout: strict.post(path, payout)] * CROWD)
        # Then one is paid, and each other response names it
        assert Counter(answer.status for answer in answers) == {200: 1, 409: CROWD - 1}
        (first,) = [answer.data for answer in answers if answer.status == 200]
        refusals = [answer.error for answer in answers if answer.status == 409]
        assert {error["code"] for error in refusals} == {"DUPLICATE_PAYOUT"}
        assert {error["details"]["payoutId"] for error in refusals} == {first["id"]}
        assert _made_for(strict, payout) == [first["id"]]
        paid.append(first)
    # and only for that one money has moved
    for first in paid:
        strict.until_payout(first["id"], "completed")
        moved = ledger.transfers_of(fast_stack["database_url"], first["id"])
        assert sorted(moved) == sorted(ledger.transfers_of_completed(first["amount"], first["fee"]))
    ledger.assert_ledger_consistent(fast_stack["database_url"])


def test_of_many_at_once_on_every_way_one_is_made(strict: Customer, jane_id: str) -> None:
    ways = [CHANNELS[number % 4] for number in range(CROWD)]
    for _ in range(ROUNDS):
        payout = _payout(jane_id)
        outcomes = run_concurrently(*[lambda way=way, payout=payout: post_payout(way, strict, payout) for way in ways])
        made = [outcome for outcome in outcomes if outcome.payout_id]
        assert len(made) == 1, outcomes
        assert all(_is_refused_for(outcome, made[0].payout_id) for outcome in outcomes if not outcome.payout_id)
        assert _made_for(strict, payout) == [made[0].payout_id]


def test_retry_and_replacement_at_once_are_not_both_made(strict: Customer, jane_id: str) -> None:
    # Given payouts that the bank has rejected
    payouts = [_payout(jane_id) for _ in range(ROUNDS)]
    broken_ids = [post_payout("single", strict, payout | REJECTED).payout_id for payout in payouts]
    for payout, broken_id in zip(payouts, broken_ids, strict=True):
        strict.until_payout(str(broken_id), "failed")
        # When one is retried and replaced at the same instant, by some each
        answers = run_concurrently(
            *[lambda broken_id=broken_id: strict.post(f"/api/v1/payouts/{broken_id}/retry", {})] * 3,
            *[lambda payout=payout: strict.post("/api/v1/payouts", payout)] * 3,
        )
        # Then one of them has it: a replacement, or the retry
        statuses = [answer.status for answer in answers]
        assert Counter(statuses) == {200: 1, 409: 5}, answers
        assert len(_made_for(strict, payout)) == (2 if 200 in statuses[3:] else 1)


def test_batch_holds_its_loads_while_it_is_queued_and_when_it_is_paid(strict: Customer, jane_id: str) -> None:
    # Given a load in an unreleased batch
    payout = _payout(jane_id)
    queued = post_payout("batch", strict, payout)
    # When it is paid otherwise, then that is a conflict
    assert _is_refused_for(post_payout("single", strict, payout), queued.payout_id)
    # and so when the batch is completed
    strict.post(f"{BATCHES}/{queued.batch_id}/release", {}).data  # noqa: B018
    until_batch(strict, str(queued.batch_id), "completed")
    assert _is_refused_for(post_payout("single", strict, payout), queued.payout_id)


def test_policy_is_set_on_the_command_line(fast_stack: Stack, organization: Organization) -> None:
    # Given a carrier whose wallet warns
    sandbox = organization.sandbox()
    payout = _payout(sandbox.verified_driver()["id"])
    post_payout("batch", sandbox, payout)

    def is_refused() -> bool:
        return post_payout("batch", sandbox, payout).code == "DUPLICATE_PAYOUT"

    def set_policy(policy: str) -> None:
        command = ["wallet", "--organization", organization.name, "--mode", "sandbox", "--duplicate-loads", policy]
        ovnpay = Path(sys.executable).with_name("ovnpay")
        done = subprocess.run(
            [ovnpay, *command], env=os.environ | fast_stack.operator_environment(), capture_output=True
        )
        assert done.returncode == 0, done

    assert not is_refused()
    # When an operator sets the policy, and sets it back, it holds within the seconds that a gateway may remember
    set_policy("refuse")
    until(is_refused, "the wallet refuses", seconds=5)
    set_policy("warn")
    until(lambda: not is_refused(), "the wallet warns", seconds=5)
