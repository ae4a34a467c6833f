"""What the contract's customers do beyond those of the acceptance tests: change and delete, cancel in time, play a
sandbox scenario, and come all at the same instant.
"""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tests.support.customer import Customer
from tests.support.http_client import Answer, call

T = TypeVar("T")


def send(customer: Customer, method: str, path: str, body: object = None) -> Answer:
    """A PUT or DELETE."""
    return call(customer.url, method, path, b"" if body is None else json.dumps(body).encode(), customer.headers)


def with_key(customer: Customer, key: str) -> Customer:
    """The same gateway with another key or session token."""
    return Customer(customer.url, key)


def with_scenario(customer: Customer, scenario: str) -> Customer:
    """The same customer, who sends `X-Sandbox-Scenario` with every request."""
    playing = Customer(customer.url, key="")
    playing.headers = customer.headers | {"X-Sandbox-Scenario": scenario}
    return playing


def fund_and_register(customer: Customer, amount_cents: int) -> str:
    """Money in the wallet, and the id of a driver who was verified while it came."""
    driver_id = customer.register()["id"]
    customer.fund(amount_cents)
    return str(customer.until_verified(driver_id)["id"])


def failed_payout(customer: Customer, driver_id: str, amount_cents: int = 45_000, **more: object) -> str:
    """The id of a payout that the bank has rejected: its money is back."""
    payout = customer.pay(driver_id, amount_cents, description="[simulate:fail:BANK_REJECTED]", **more)
    return str(customer.until_payout(payout["id"], "failed")["id"])


def cancel_in_time(customer: Customer, path: str, ids_of_new: Callable[[], Sequence[str]]) -> tuple[Answer, list[str]]:
    """Make payouts and cancel them at once, with a POST to `path`, until none of them was submitted before.

    `path` is that of one payout, with `:id` in it, or of many.
    """
    for _ in range(50):
        ids = list(ids_of_new())
        body = {} if ":id" in path else {"payoutIds": ids}
        answer = customer.post(path.replace(":id", ids[0]), body)
        if answer.status == 200 and answer.data.get("failed", 0) == 0:
            return answer, ids
        assert answer.status in (200, 409), answer
    raise AssertionError(f"fifty times too late for POST {path}: {answer}")


def run_concurrently(*calls: Callable[[], T]) -> list[T]:
    """What each call returned, in order. None starts before all are ready, each in a thread of its own."""
    all_ready = threading.Barrier(len(calls))

    def started(call_: Callable[[], T]) -> T:
        all_ready.wait()
        return call_()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(started, calls))
