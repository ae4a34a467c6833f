"""`Idempotency-Key` of payout POSTs: a repeat gets the first response, and moves no money twice."""

import uuid
from collections import Counter
from typing import Any

import pytest

from tests.support.concurrent_clients import post_all
from tests.support.customer import Customer

PAYOUT_POSTS = ["/api/v1/payouts", "/api/v1/payouts/instant"]


def _key() -> str:
    return f"key-{uuid.uuid4()}"


def _payout_count(customer: Customer, driver_id: str) -> int:
    return int(customer.get("/api/v1/payouts", driverId=driver_id, pageSize=1).data["total"])


@pytest.mark.parametrize("path", PAYOUT_POSTS)
def test_repeat_gets_the_first_response_and_pays_nothing_more(customer: Customer, driver_id: str, path: str) -> None:
    # Given a completed payout that was requested with a key
    key, body = _key(), {"driverId": driver_id, "amount": 20_000}
    first = customer.post(path, body, key)
    customer.until_payout(first.data["id"], "completed")
    before, count = customer.balance(), _payout_count(customer, driver_id)
    # When the request is repeated
    again = customer.post(path, body, key)
    # Then the first response is returned, marked as a replay
    assert (again.status, again.data) == (200, first.data)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers
    # and nothing is paid
    assert (customer.balance(), _payout_count(customer, driver_id)) == (before, count)


@pytest.mark.parametrize("path", PAYOUT_POSTS)
def test_key_with_another_body_is_rejected(customer: Customer, driver_id: str, path: str) -> None:
    key, body = _key(), {"driverId": driver_id, "amount": 20_000}
    customer.until_payout(customer.post(path, body, key).data["id"], "completed")
    before, count = customer.balance(), _payout_count(customer, driver_id)
    # When the key is used with another amount
    answer = customer.post(path, body | {"amount": 20_001}, key)
    # Then the request is rejected, and pays nothing
    assert (answer.status, answer.error["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
    assert "Idempotency-Key" in answer.error["message"]
    assert (customer.balance(), _payout_count(customer, driver_id)) == (before, count)


def test_key_at_another_path_is_rejected(customer: Customer, driver_id: str) -> None:
    key, body = _key(), {"driverId": driver_id, "amount": 20_000}
    assert customer.post("/api/v1/payouts", body, key).status == 200
    assert customer.post("/api/v1/payouts/instant", body, key).status == 422


@pytest.mark.parametrize("path", PAYOUT_POSTS)
def test_parallel_requests_with_a_key_create_one_payout(customer: Customer, driver_id: str, path: str) -> None:
    # Given one request
    count, request = _payout_count(customer, driver_id), ({"driverId": driver_id, "amount": 20_000}, _key())
    # When sixteen clients send it at the same time, and repeat it after a 409
    _, posted = post_all(customer, path, [request] * 16, clients=16)
    # Then it creates one payout, and each client gets its response
    assert {post.status for post in posted} == {200}
    assert len({post.answer["data"]["id"] for post in posted}) == 1
    assert Counter(post.replayed for post in posted) == {False: 1, True: 15}
    assert _payout_count(customer, driver_id) == count + 1


def test_same_key_in_another_wallet_is_a_different_key(
    customer: Customer, driver_id: str, production: Customer, production_driver: Any
) -> None:
    # Given a key used by the sandbox wallet
    key = _key()
    sandbox = customer.post("/api/v1/payouts", {"driverId": driver_id, "amount": 20_000}, key)
    # When the production wallet uses the same key
    production.fund(20_000)
    live = production.post("/api/v1/payouts", {"driverId": production_driver["id"], "amount": 20_000}, key)
    # Then both are paid
    assert "Idempotent-Replayed" not in live.headers
    assert live.data["id"] != sandbox.data["id"]
    customer.until_payout(sandbox.data["id"], "completed")
    production.until_payout(live.data["id"], "completed")


def test_error_is_replayed(production: Customer, production_driver: Any) -> None:
    # Given a payout that the balance did not cover
    body = {"driverId": production_driver["id"], "amount": production.available_cents() + 5_000}
    key = _key()
    refused = production.post("/api/v1/payouts", body, key)
    assert (refused.status, refused.error["code"]) == (400, "INSUFFICIENT_FUNDS")
    # When the wallet is funded and the request is repeated
    production.fund(10_000)
    again = production.post("/api/v1/payouts", body, key)
    # Then the stored error is returned; only 429 and 5xx responses are not stored
    assert (again.status, again.error) == (400, refused.error)
    assert again.headers["Idempotent-Replayed"] == "true"
    # and a new key is a new request
    production.until_payout(production.post("/api/v1/payouts", body, _key()).data["id"], "completed")


def test_payouts_can_be_listed_by_the_key_that_created_them(customer: Customer, driver_id: str) -> None:
    # Given a payout, two in bulk, two in a batch, and an error, each with its own key
    single, bulk, batch, refused, unused = (uuid.uuid4().hex for _ in range(5))
    items = [{"driverId": driver_id, "amount": cents} for cents in (45_000, 50_000)]
    payout_id = customer.post("/api/v1/payouts", items[0], single).data["id"]
    results = customer.post("/api/v1/payouts/bulk", {"payouts": items}, bulk).data["results"]
    batch_id = customer.post("/api/v1/batches", {"name": "Asked for", "payouts": items}, batch).data["id"]
    assert customer.post("/api/v1/payouts", {"driverId": "drv_nobody", "amount": 45_000}, refused).status == 404

    def created(key: str) -> list[str]:
        data = customer.get("/api/v1/payouts", idempotencyKey=key).data
        assert data["total"] == len(data["items"])
        return sorted(item["id"] for item in data["items"])

    # When the payouts of each key are listed
    # Then they are those that its request created; an error and an unused key have none
    assert created(single) == [payout_id]
    assert created(bulk) == sorted(result["item"]["id"] for result in results)
    assert created(batch) == sorted(item["id"] for item in customer.get(f"/api/v1/batches/{batch_id}").data["payouts"])
    assert (created(refused), created(unused)) == ([], [])
