"""Every client error gets its 4xx with a code and a message that names the field, and changes nothing."""

import json
import re
import uuid
from typing import Any

import pytest

from tests.contract.mistakes import MISTAKES, Mistake
from tests.contract.shape import TIME
from tests.support.customer import Customer
from tests.support.http_client import Answer, call
from tests.support.polling import until
from tests.support.stack import Stack


@pytest.fixture(scope="module")
def ids(
    stack: Stack, customer: Customer, production: Customer, driver_id: str, production_driver: Any
) -> dict[str, str]:
    """The values of the `$names` in the table."""
    rejected = customer.register("Rita Rejected", f"rita+kyc_rejected{uuid.uuid4().hex}@example.com")
    unverified = customer.register("Una Unverified", f"una+kyc_pending{uuid.uuid4().hex}@example.com")
    driver = customer.get(f"/api/v1/drivers/{driver_id}").data
    until(
        lambda: customer.get(f"/api/v1/drivers/{rejected['id']}").data["kycStatus"] == "rejected",
        "the driver is rejected",
    )
    production.fund(1_000)  # other tests may have emptied the wallet
    return {
        "$sandbox_key": stack["sandbox_key"],
        "$driver": driver_id,
        "$ovn_id": driver["ovnDriverId"],
        "$payout": customer.pay(driver_id, 1_000)["id"],
        "$unverified": unverified["id"],
        "$rejected": rejected["id"],
        "$production_driver": production_driver["id"],
        "$production_payout": production.pay(production_driver["id"], 1_000)["id"],
    }


def _make(mistake: Mistake, url: str, ids: dict[str, str]) -> Answer:
    def filled(text: str) -> str:
        return re.sub(r"\$(sandbox_key|[a-z_]+)", lambda name: ids[name[0]], text)

    body = mistake.body
    if body is not None and not isinstance(body, bytes):
        body = filled(json.dumps(body)).encode()
    headers = {"Content-Type": "application/json"} | {name: filled(value) for name, value in mistake.headers}
    return call(url, mistake.method, filled(mistake.path), body, headers)


@pytest.mark.parametrize("mistake", MISTAKES, ids=[mistake.name for mistake in MISTAKES])
def test_client_error_gets_its_code_and_message(customer: Customer, ids: dict[str, str], mistake: Mistake) -> None:
    # When the request is sent
    answer = _make(mistake, customer.url, ids)
    # Then the response has its status and code
    assert (answer.status, answer.error["code"]) == (mistake.status, mistake.code), answer
    # and the message names the field
    assert mistake.field is None or mistake.field.lower() in answer.error["message"].lower()
    # in the standard envelope
    assert answer.body.keys() == {"success", "error", "meta"}
    assert answer.error.keys() <= {"code", "message", "details"}
    assert uuid.UUID(answer.body["meta"]["requestId"])
    assert TIME.match(answer.body["meta"]["timestamp"])


def test_client_errors_change_nothing(customer: Customer, ids: dict[str, str]) -> None:
    # Given a wallet without anything in progress
    def at_rest() -> bool:
        balance = customer.balance()
        return (balance["pending"], balance["inTransit"]) == (0, 0)

    until(at_rest, "the wallet is at rest")
    before = _holdings(customer)
    # When all requests are sent again
    for mistake in MISTAKES:
        _make(mistake, customer.url, ids)
    # Then the wallet is unchanged
    assert _holdings(customer) == before


def _holdings(customer: Customer) -> Any:
    lists = [customer.get(path, pageSize=1).data["total"] for path in ("/api/v1/drivers", "/api/v1/payouts")]
    return lists, customer.balance()


def test_insufficient_funds_error_has_available_and_required_amounts(
    production: Customer, production_driver: Any
) -> None:
    # Given a wallet
    available_cents = production.available_cents()
    # When a payout needs one cent more than it has
    body = {"driverId": production_driver["id"], "amount": max(available_cents + 1, 1_000)}
    answer = production.post("/api/v1/payouts", body)
    # Then it is rejected with both amounts
    assert (answer.status, answer.error["code"]) == (400, "INSUFFICIENT_FUNDS")
    assert answer.error["details"].items() >= {"available": available_cents, "required": body["amount"]}.items()
    assert production.available_cents() == available_cents


def test_ids_of_another_wallet_look_like_unknown_ids(production: Customer, ids: dict[str, str]) -> None:
    # An id of another wallet and one that never existed get the same response except for the id
    for path, foreign, unknown in (
        ("/api/v1/drivers", ids["$driver"], "drv_00000000000000000000000000"),
        ("/api/v1/payouts", ids["$payout"], "pay_00000000000000000000000000"),
    ):
        first, second = production.get(f"{path}/{foreign}"), production.get(f"{path}/{unknown}")
        assert (first.status, second.status) == (404, 404)
        assert json.dumps(first.error).replace(foreign, "") == json.dumps(second.error).replace(unknown, "")
    # and a filter by a driver of another wallet finds nothing
    assert production.get("/api/v1/payouts", driverId=ids["$driver"]).data["items"] == []
