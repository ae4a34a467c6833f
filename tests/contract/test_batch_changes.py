"""Batches: quote, cancel, reschedule, retry and export."""

import csv
import io
from typing import Any

import pytest

from tests.contract.customers import run_concurrently
from tests.support.batches import (
    AMOUNTS_CENTS,
    PATH,
    batch_body,
    create_batch,
    is_same_time,
    time_from_now,
    until_batch,
)
from tests.support.customer import Customer

UNKNOWN = "batch_00000000000000000000000000"


def act(customer: Customer, batch_id: str, action: str, body: object = None) -> Any:
    return customer.post(f"{PATH}/{batch_id}/{action}", {} if body is None else body)


def test_quote_returns_the_cost_and_stores_nothing(carrier: Customer, three_drivers: list[str]) -> None:
    before = {batch["id"] for batch in carrier.items(PATH)}
    quoted = carrier.post(f"{PATH}/quote", batch_body(three_drivers)).data
    assert {name: quoted[name] for name in ("payoutCount", "totalAmount", "totalFees", "netAmount")} == {
        "payoutCount": 3,
        "totalAmount": 135_000,
        "totalFees": 675,
        "netAmount": 134_325,
    }
    assert quoted["availableAfter"] == quoted["available"] - 135_000
    assert {batch["id"] for batch in carrier.items(PATH)} == before


def test_quote_lists_every_invalid_item(carrier: Customer, three_drivers: list[str]) -> None:
    asked = batch_body(three_drivers)
    asked["payouts"] = [{**asked["payouts"][0], "amount": -1}] * 150
    answer = carrier.post(f"{PATH}/quote", asked)
    assert (answer.status, answer.error["code"]) == (400, "VALIDATION_ERROR")
    assert [item["index"] for item in answer.error["details"]["items"]] == list(range(150))
    # Creation lists the first hundred
    assert len(carrier.post(PATH, asked).error["details"]["items"]) == 100


def test_refuse_duplicates_overrides_the_wallets_policy(carrier: Customer, three_drivers: list[str]) -> None:
    # Given a wallet that only warns, and a batch with loads
    asked = batch_body(three_drivers)
    first = carrier.post(PATH, asked).data
    warned = carrier.post(f"{PATH}/quote", asked).data["warnings"]
    assert [(one["code"], one["index"]) for one in warned] == [("DUPLICATE_LOAD", index) for index in range(3)]
    # When the same loads are sent again with refuseDuplicates
    for path in (PATH, f"{PATH}/quote"):
        answer = carrier.post(path, {**asked, "refuseDuplicates": True})
        assert (answer.status, answer.error["code"]) == (409, "DUPLICATE_PAYOUT")
        assert [item["index"] for item in answer.error["details"]["items"]] == [0, 1, 2]
    # Then an item with a reason is accepted as a duplicate
    allowed = [{**item, "allowDuplicate": True, "duplicateReason": "detention"} for item in asked["payouts"]]
    assert carrier.post(PATH, {**asked, "payouts": allowed, "refuseDuplicates": True}).status == 200
    assert act(carrier, first["id"], "cancel").status == 200


def test_canceled_batch_pays_no_driver(carrier: Customer, three_drivers: list[str]) -> None:
    # Given a batch with a time
    batch = create_batch(carrier, three_drivers, scheduledFor=time_from_now(days=1))
    before = carrier.balance()
    # When several clients cancel it at once
    answers = run_concurrently(*[lambda: act(carrier, batch["id"], "cancel")] * 4)
    # Then one of them succeeds
    assert sorted(answer.status for answer in answers) == [200, 409, 409, 409]
    done = next(answer for answer in answers if answer.status == 200).data
    assert (done["id"], done["status"]) == (batch["id"], "canceled")
    shown = carrier.get(f"{PATH}/{batch['id']}").data
    assert (shown["status"], shown["canceledAt"]) == ("canceled", done["canceledAt"])
    assert (shown["countsByStatus"], shown["amountsByStatus"]) == ({"canceled": 3}, {"canceled": 135_000})
    # and it can't be released or rescheduled
    assert act(carrier, batch["id"], "release").error["code"] == "BATCH_NOT_RELEASABLE"
    assert act(carrier, batch["id"], "reschedule", {"scheduledFor": None}).error["code"] == "BATCH_NOT_RESCHEDULABLE"
    assert carrier.balance() == before


def test_rescheduled_batch_is_released_at_its_new_time(carrier: Customer, three_drivers: list[str]) -> None:
    # Given a batch for next week
    batch = create_batch(carrier, three_drivers, scheduledFor=time_from_now(days=7))
    # When it is postponed, loses its time, and is then brought forward, with an offset
    later = time_from_now(days=8)
    assert is_same_time(act(carrier, batch["id"], "reschedule", {"scheduledFor": later}).data["scheduledFor"], later)
    held = act(carrier, batch["id"], "reschedule", {"scheduledFor": None}).data
    assert (held["scheduledFor"], held["status"]) == (None, "queued")
    soon = time_from_now(minutes=1 / 60).replace("Z", "+00:00")
    assert act(carrier, batch["id"], "reschedule", {"scheduledFor": soon}).status in (
        200,
        400,
    )  # it may be past already
    assert act(carrier, batch["id"], "reschedule", {"scheduledFor": time_from_now(minutes=2 / 60)}).status in (200, 409)
    # Then it is paid, and can't be rescheduled any more
    until_batch(carrier, batch["id"], "completed")
    rejected = act(carrier, batch["id"], "reschedule", {"scheduledFor": later})
    assert (rejected.status, rejected.error["code"]) == (409, "BATCH_NOT_RESCHEDULABLE")


@pytest.mark.parametrize("text", ["2020-01-01T00:00:00Z", "tomorrow", "2030-01-01T00:00:00"])
def test_invalid_time_is_rejected(carrier: Customer, three_drivers: list[str], text: str) -> None:
    batch = create_batch(carrier, three_drivers, scheduledFor=time_from_now(days=7))
    answer = act(carrier, batch["id"], "reschedule", {"scheduledFor": text})
    assert (answer.status, answer.error["details"]["field"]) == (400, "scheduledFor")
    assert carrier.get(f"{PATH}/{batch['id']}").data["scheduledFor"] == batch["scheduledFor"]


def test_failed_payouts_of_a_batch_can_be_retried(carrier: Customer, three_drivers: list[str]) -> None:
    # Given a batch with one failed payout
    asked = batch_body(three_drivers)
    asked["payouts"][1]["description"] = "[simulate:fail:BANK_REJECTED]"
    batch_id = carrier.post(PATH, asked).data["id"]
    act(carrier, batch_id, "release")
    assert until_batch(carrier, batch_id, "completed")["countsByStatus"] == {"completed": 2, "failed": 1}
    # When the failed payouts are retried
    retried = act(carrier, batch_id, "retry-failed").data
    # Then that payout is processed again
    assert (retried["id"], retried["retried"], retried["refused"], retried["results"]) == (batch_id, 1, 0, [])
    # and it fails again: this bank rejects every attempt
    ended = until_batch(carrier, batch_id, "completed")
    assert ended["countsByStatus"] == {"completed": 2, "failed": 1}
    assert [payout["attempt"] for payout in ended["payouts"]] == [1, 2, 1]
    # and without failed payouts, nothing is retried
    whole = create_batch(carrier, three_drivers)
    assert act(carrier, whole["id"], "retry-failed").data["retried"] == 0


def test_payouts_are_listed_in_the_order_of_the_request(carrier: Customer, three_drivers: list[str]) -> None:
    batch = create_batch(carrier, three_drivers, scheduledFor=time_from_now(days=7))
    path = f"{PATH}/{batch['id']}/payouts"
    first = carrier.get(path, pageSize=2).data
    assert [payout["amount"] for payout in first["items"]] == list(AMOUNTS_CENTS[:2])
    assert (first["total"], first["hasNextPage"], first["pageSize"]) == (3, True, 2)
    rest = carrier.get(path, pageSize=2, cursor=first["nextCursor"]).data
    assert [payout["amount"] for payout in rest["items"]] == list(AMOUNTS_CENTS[2:])
    assert (rest["hasNextPage"], rest["nextCursor"]) == (False, None)
    assert carrier.get(path, pageSize=2, page=2).data["items"] == rest["items"]
    assert carrier.get(path, status="completed").data["total"] == 0
    assert carrier.get(path, pageSize=1_000).data["total"] == 3
    assert carrier.get(path, pageSize=1_001).status == 400


def test_csv_results_contain_no_formulas(carrier: Customer, three_drivers: list[str]) -> None:
    # Given a batch with descriptions that a spreadsheet would run
    asked = batch_body(three_drivers)
    asked["payouts"][0]["description"] = '=HYPERLINK("http://evil.example")'
    asked["payouts"][1]["description"] = 'commas, "quotes"\nand lines'
    batch_id = carrier.post(PATH, asked).data["id"]
    # When its results are exported as CSV
    answer = carrier.get(f"{PATH}/{batch_id}/payouts", format="csv")
    # Then the file has a row for each payout, with amounts in cents
    assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{batch_id}.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.body, newline="")))
    assert [int(row["amount"]) for row in rows] == list(AMOUNTS_CENTS)
    assert [row["driverId"] for row in rows] == three_drivers
    assert [row["status"] for row in rows] == ["validated"] * 3
    assert rows[0]["description"] == '\'=HYPERLINK("http://evil.example")'
    assert rows[1]["description"] == 'commas, "quotes"\nand lines'


@pytest.mark.parametrize("action", ["cancel", "retry-failed", "payouts"])
def test_unknown_batch_is_not_found(carrier: Customer, action: str) -> None:
    path = f"{PATH}/{UNKNOWN}/{action}"
    answer = carrier.get(path) if action == "payouts" else carrier.post(path, {})
    assert (answer.status, answer.error["code"]) == (404, "BATCH_NOT_FOUND")
