"""Steps of customers in contract tests: PUT and DELETE, sandbox scenarios, a failed payout, concurrent calls."""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tests.support.customer import Customer
from tests.support.http_client import Answer, call

T = TypeVar("T")


def send(customer: Customer, method: str, path: str, body: object = None) -> Answer:
    """Send a PUT or DELETE."""
    return call(customer.url, method, path, b"" if body is None else json.dumps(body).encode(), customer.headers)


def with_key(customer: Customer, key: str) -> Customer:
    """Return a customer of the same gateway with another key or session token."""
    return Customer(customer.url, key)


def with_scenario(customer: Customer, scenario: str) -> Customer:
    """Return the same customer with `X-Sandbox-Scenario` in every request."""
    playing = Customer(customer.url, key="")
    playing.headers = customer.headers | {"X-Sandbox-Scenario": scenario}
    return playing


def fund_and_register(customer: Customer, amount_cents: int) -> str:
    """Fund the wallet and create a verified driver; return the driver's id."""
    driver_id = customer.register()["id"]
    customer.fund(amount_cents)
    return str(customer.until_verified(driver_id)["id"])


def failed_payout(customer: Customer, driver_id: str, amount_cents: int = 45_000, **more: object) -> str:
    """Make a payout that the bank rejects; return its id once it has failed."""
    payout = customer.pay(driver_id, amount_cents, description="[simulate:fail:BANK_REJECTED]", **more)
    return str(customer.until_payout(payout["id"], "failed")["id"])


def cancel_in_time(customer: Customer, path: str, ids_of_new: Callable[[], Sequence[str]]) -> tuple[Answer, list[str]]:
    """Make payouts and cancel them with a POST to `path`, again until the cancel comes before the submission.

    `path` cancels one payout (with `:id` in it) or many.
    """
    for _ in range(50):
        ids = list(ids_of_new())
        body = {} if ":id" in path else {"payoutIds": ids}
        answer = customer.post(path.replace(":id", ids[0]), body)
        if answer.status == 200 and answer.data.get("failed", 0) == 0:
            return answer, ids
        assert answer.status in (200, 409), answer
    raise AssertionError(f"too late fifty times for POST {path}: {answer}")


def run_concurrently(*calls: Callable[[], T]) -> list[T]:
    """Call all at the same moment, each in a thread; return the results in order."""
    all_ready = threading.Barrier(len(calls))

    def started(call_: Callable[[], T]) -> T:
        all_ready.wait()
        return call_()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(started, calls))
