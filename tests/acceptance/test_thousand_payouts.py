"""A week's settlement of 1,000 payouts to 50 drivers: each is paid once, also if every message arrives twice."""

import csv
import random
import re
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support import ledger
from tests.support.concurrent_clients import Posted, post_all
from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.report_lines import report
from tests.support.simulator import RAILS, Simulator
from tests.support.stack import Stack, running_stack

SETTLEMENT = Path(__file__).resolve().parents[1] / "data" / "settlement.csv"
CLIENTS = 20
ALL_COMPLETED_SECONDS = 60

Row = dict[str, str]


@pytest.fixture
def duplicating_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A system in which every message is enqueued twice."""
    with running_stack(tmp_path_factory.mktemp("twice"), OVNPAY_TASK_MESSAGE_COPIES="2") as running:
        yield running


def test_thousand_payouts_are_paid_once(stack: Stack) -> None:
    summary = _settle_the_week(stack)
    report(f"1,000 payouts: {summary}")


@pytest.mark.long
def test_thousand_payouts_are_paid_once_although_messages_are_duplicated(
    duplicating_stack: Stack,
) -> None:
    summary = _settle_the_week(duplicating_stack)
    report(f"1,000 payouts, every message twice: {summary}")


def _settle_the_week(stack: Stack) -> str:
    # Given the week's settlement, the money for it, and 50 verified drivers
    rows = list(csv.DictReader(SETTLEMENT.read_text(encoding="utf-8").splitlines()))
    assert (len(rows), len({row["driver_id"] for row in rows})) == (1000, 50)
    customer = Customer(stack["gateway"], stack["sandbox_key"])
    with ThreadPoolExecutor(1) as meanwhile:
        funded = meanwhile.submit(customer.fund, sum(int(row["amount_cents"]) for row in rows))
        driver_ids = _register(customer, rows)
        funded.result()
    before_cents = customer.available_cents()
    paid_before = len(Simulator(stack["paystream"]).payments())

    # When concurrent clients post it, and repeat some requests at once or later
    requests = [(_request(row, driver_ids), f"settlement/{number}") for number, row in enumerate(rows)]
    chance = random.Random("repeats")
    repeated = requests + chance.sample(requests, 150)
    at_once = [(request, position + chance.choice([1, 2, 40])) for position, request in enumerate(requests[::20])]
    for request, position in reversed(at_once):
        repeated.insert(position * 20, request)
    started_at, posted = post_all(customer, "/api/v1/payouts", repeated, CLIENTS)

    # Then each key has one payout, and a repeat got the same response
    payout_ids = _one_payout_a_key(posted, len(rows))
    # and all are completed
    payouts = _until_all_completed(customer, payout_ids)
    for (body, key), row in zip(requests, rows, strict=True):
        _assert_as_requested(payouts[payout_ids[key]], body, row)
    # and the provider paid each exactly once: the net amount, over its rail, to its driver
    paid = Simulator(stack["paystream"]).payments()[paid_before:]
    assert {payment["status"] for payment in paid} == {"completed"}
    assert Counter(map(_as_paid, paid)) == Counter(
        (row["email"], _net_cents(row), RAILS[row["urgency"]], row["description"]) for row in rows
    )
    # and the wallet paid the amounts, and the ledger is consistent
    assert customer.balance()["inTransit"] == 0
    assert customer.available_cents() == before_cents - sum(int(row["amount_cents"]) for row in rows)
    ledger.assert_ledger_consistent(stack["database_url"])
    for row in chance.sample(rows, 20):
        payout = payouts[payout_ids[f"settlement/{rows.index(row)}"]]
        moved = ledger.transfers_of(stack["database_url"], payout["id"])
        assert sorted(moved) == sorted(ledger.transfers_of_completed(payout["amount"], payout["fee"]))
    return _summary(started_at, posted, list(payouts.values()))


def _register(customer: Customer, rows: list[Row]) -> dict[str, str]:
    """Create the drivers; return their ids by the ids of the settlement once all are verified."""
    people = {row["driver_id"]: row for row in rows}

    def register(row: Row) -> tuple[str, str]:
        body = {"ovnDriverId": row["driver_id"], "name": row["name"], "email": row["email"], "phone": "+15551234567"}
        return row["driver_id"], customer.post("/api/v1/drivers", body).data["id"]

    with ThreadPoolExecutor(CLIENTS) as pool:
        driver_ids = dict(pool.map(register, people.values()))

    def verified() -> bool:
        active = {item["id"] for item in customer.items("/api/v1/drivers", status="active")}
        return set(driver_ids.values()) <= active

    until(verified, "50 drivers are verified", seconds=30, pause_seconds=0.3)
    return driver_ids


def _request(row: Row, driver_ids: dict[str, str]) -> dict[str, Any]:
    return {
        "driverId": driver_ids[row["driver_id"]],
        "amount": int(row["amount_cents"]),
        "urgency": row["urgency"],
        "loadId": row["load_id"],
        "description": row["description"],
    }


def _fee_cents(row: Row) -> int:
    """Return the fee by the published prices."""
    amount_cents = int(row["amount_cents"])
    instant_cents = amount_cents // 100 if amount_cents < 50_000 else amount_cents // 200
    return {"standard": 250, "same_day": 500, "instant": instant_cents}[row["urgency"]]


def _net_cents(row: Row) -> int:
    return int(row["amount_cents"]) - _fee_cents(row)


def _as_paid(payment: Any) -> tuple[str, int, str, str]:
    """Return email, amount, rail and description. In a provider batch the description begins with the payout id."""
    description = re.sub(r"^pay_\w{26} ", "", payment["description"])
    return payment["email"], payment["amount"], payment["rail"], description


def _one_payout_a_key(posted: Sequence[Posted], keys: int) -> dict[str, str]:
    """Return the payout id of each idempotency key."""
    assert {post.status for post in posted} == {200}, next(post for post in posted if post.status != 200)
    answers: dict[str, Any] = {}
    for post in posted:
        assert answers.setdefault(post.idempotency_key, post.answer["data"]) == post.answer["data"]
    assert Counter(post.replayed for post in posted) == {False: keys, True: len(posted) - keys}
    payout_ids = {key: data["id"] for key, data in answers.items()}
    assert len(set(payout_ids.values())) == keys
    return payout_ids


def _until_all_completed(customer: Customer, payout_ids: dict[str, str]) -> dict[str, Any]:
    """Wait until all are completed; return each payout by its id."""
    wanted = set(payout_ids.values())

    def none_is_open() -> bool:
        """Other tests of the same wallet may leave payouts open."""
        of_status = ("validated", "queued", "processing")
        return not any(item["id"] in wanted for s in of_status for item in customer.items("/api/v1/payouts", status=s))

    until(none_is_open, "no payout is open", ALL_COMPLETED_SECONDS, pause_seconds=0.25)
    payouts = {item["id"]: item for item in customer.items("/api/v1/payouts") if item["id"] in wanted}
    assert set(payouts) == wanted
    assert Counter(payout["status"] for payout in payouts.values()) == {"completed": len(wanted)}
    return payouts


def _assert_as_requested(payout: Any, body: dict[str, Any], row: Row) -> None:
    expected = {
        "driverId": body["driverId"],
        "driverName": row["name"],
        "amount": body["amount"],
        "rail": row["urgency"],
    }
    expected |= {"loadId": row["load_id"], "fee": _fee_cents(row), "netAmount": _net_cents(row)}
    assert payout.items() >= expected.items()


def _summary(started_at: float, posted: Sequence[Posted], payouts: list[Any]) -> str:
    last_at = max(datetime.fromisoformat(payout["completedAt"]).timestamp() for payout in payouts)
    percentiles_ms = [1000 * cut for cut in statistics.quantiles([post.seconds for post in posted], n=100)]
    return (
        f"{len(payouts) / (last_at - started_at):.0f} payouts/s from first POST to last completion"
        f" ({last_at - started_at:.1f} s); POST p50 {percentiles_ms[49]:.1f} ms, p99 {percentiles_ms[98]:.1f} ms"
        f" ({len(posted)} POSTs of {CLIENTS} clients)"
    )
