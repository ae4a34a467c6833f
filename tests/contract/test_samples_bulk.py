"""The samples of the bulk operations: each item has its own result."""

import uuid
from typing import Any

from tests.contract.conformance import ADDED_TO_DRIVERS, ADDED_TO_PAYOUTS, ADDED_TO_RESULTS, SAMPLES, conforms
from tests.contract.customers import cancel_in_time
from tests.support.customer import Customer

# Results have more fields of the payout than the three or four of the sample.
ADDED_TO_PAYOUT_RESULTS = ADDED_TO_RESULTS | ADDED_TO_PAYOUTS | {"fee", "netAmount", "rail", "requestedAt"}


def _items(data: Any) -> list[Any]:
    assert [result["index"] for result in data["results"]] == list(range(data["total"]))
    return [result["item"] for result in data["results"]]


def test_bulk_register_drivers(carrier: Customer) -> None:
    sample, mark = SAMPLES["bulk register drivers"], uuid.uuid4().hex[:8]
    drivers = [driver | {"ovnDriverId": f"{driver['ovnDriverId']}-{mark}"} for driver in sample["body"]["drivers"]]
    answer = carrier.post(sample["path"], {"drivers": drivers})
    items = _items(conforms("bulk register drivers", answer, ADDED_TO_RESULTS | ADDED_TO_DRIVERS))
    assert [item["ovnDriverId"] for item in items] == [driver["ovnDriverId"] for driver in drivers]


def test_bulk_create_payouts(carrier: Customer, three_drivers: list[str]) -> None:
    sample = SAMPLES["bulk create payouts"]
    payouts = [
        payout | {"driverId": driver_id}
        for payout, driver_id in zip(sample["body"]["payouts"], three_drivers, strict=True)
    ]
    answer = carrier.post(sample["path"], sample["body"] | {"payouts": payouts})
    items = _items(conforms("bulk create payouts", answer, ADDED_TO_PAYOUT_RESULTS))
    assert [item["driverId"] for item in items] == three_drivers
    # The reference shows no fees here: we follow those of single payouts
    for item, net_cents in zip(items, (44_750, 49_750, 39_750), strict=True):
        paid = carrier.until_payout(item["id"], "completed")
        assert (paid["fee"], paid["netAmount"]) == (250, net_cents)


def test_bulk_cancel_payouts(carrier: Customer, three_drivers: list[str]) -> None:
    def three_new() -> list[str]:
        payouts = [{"amount": 45_000, "driverId": driver_id} for driver_id in three_drivers]
        return [
            result["item"]["id"]
            for result in carrier.post("/api/v1/payouts/bulk", {"payouts": payouts}).data["results"]
        ]

    answer, ids = cancel_in_time(carrier, SAMPLES["bulk cancel payouts"]["path"], three_new)
    # The sample counts three payouts and shows one result: we return one for each
    data = conforms("bulk cancel payouts", answer, ADDED_TO_PAYOUT_RESULTS)
    assert [item["id"] for item in _items(data)] == ids


def test_bulk_retry_payouts(carrier: Customer, three_drivers: list[str]) -> None:
    # Given three failed payouts, the last one for almost the whole balance
    john_id = three_drivers[0]
    too_much_cents = carrier.available_cents() - 500_000
    rejected = "[simulate:fail:BANK_REJECTED]"
    ids = [carrier.pay(john_id, cents, description=rejected)["id"] for cents in (45_000, 45_000, too_much_cents)]
    for payout_id in ids:
        carrier.until_payout(payout_id, "failed")
    # and a completed payout since then, after which the balance no longer covers it
    carrier.until_payout(carrier.pay(john_id, 1_000_000)["id"], "completed")
    # When all are retried
    sample = SAMPLES["bulk retry payouts"]
    answer = carrier.post(sample["path"], {"payoutIds": ids})
    # Then the last is rejected with the message of the reference, and stays failed
    data = conforms("bulk retry payouts", answer, ADDED_TO_PAYOUT_RESULTS)
    assert [item["id"] for item in _items(data)] == ids
    assert data["results"][2]["code"] == "INSUFFICIENT_FUNDS"
    assert carrier.payout(ids[2])["status"] == "failed"
