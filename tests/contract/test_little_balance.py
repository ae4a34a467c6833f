"""A crowd asks for more than the wallet has: as many payouts succeed as are covered, each other one gets its 400."""

import uuid
from collections import Counter
from typing import Any

from tests.support import ledger
from tests.support.concurrent_clients import post_all
from tests.support.customer import Customer
from tests.support.stack import Stack

AMOUNT_CENTS = 20_000
TOO_MANY = 25


def test_exactly_as_many_succeed_as_are_covered(stack: Stack, production: Customer, production_driver: Any) -> None:
    # Given a wallet that covers some payouts
    production.fund(15 * AMOUNT_CENTS)
    available_cents = production.available_cents()
    covered = available_cents // AMOUNT_CENTS
    # When a crowd asks for more than that, one half of them at once
    requests = [
        (
            {
                "driverId": production_driver["id"],
                "amount": AMOUNT_CENTS,
                "urgency": ("standard", "instant")[number % 2],
            },
            f"crowd-{uuid.uuid4()}",
        )
        for number in range(covered + TOO_MANY)
    ]
    _, posted = post_all(production, "/api/v1/payouts", requests, clients=32)
    # Then the covered ones succeed, and the rest get an error
    assert Counter(post.status for post in posted) == {200: covered, 400: TOO_MANY}
    for post in posted:
        if post.status == 400:
            assert post.answer["error"]["code"] == "INSUFFICIENT_FUNDS"
            assert post.answer["error"]["details"]["required"] == AMOUNT_CENTS
            assert post.answer["error"]["details"]["available"] < AMOUNT_CENTS
    # and the covered ones are paid, from what was there and nothing else
    assert production.available_cents() == available_cents - covered * AMOUNT_CENTS
    for post in posted:
        if post.status == 200:
            production.until_payout(post.answer["data"]["id"], "completed")
    assert production.balance()["inTransit"] == 0
    ledger.assert_ledger_consistent(stack["database_url"])
