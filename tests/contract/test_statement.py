"""The statement by dates and as a file, and the projection beside it: a wallet that several things have happened to."""

import csv
import io
import itertools
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.contract.customers import failed_payout, fund_and_register, with_scenario
from tests.support.batches import create_batch, time_from_now
from tests.support.customer import Customer
from tests.support.organization import Organization
from tests.support.polling import until
from tests.support.stack import Stack

pytestmark = pytest.mark.usefixtures("one_date")

TRANSACTIONS, PROJECTION = "/api/v1/funding/transactions", "/api/v1/funding/projection"
COLUMNS = ["createdAt", "type", "amount", "balance", "changeUsd", "balanceUsd", "description", "payoutId", "topupId"]


@pytest.fixture(scope="module")
def payer(fast_stack: Stack) -> Customer:
    """A customer with a top-up, a paid, a failed and a returned payout."""
    payer = Organization(fast_stack).sandbox()
    driver_id = fund_and_register(payer, 1_000_000)
    failed_payout(payer, driver_id)
    back = with_scenario(payer, "returned").pay(driver_id, 45_000, description='=HYPERLINK("//x"), "quoted"')
    payer.until_payout(back["id"], "returned")
    payer.pay(driver_id, 45_050)
    return payer


def exported(customer: Customer, **query: object) -> tuple[Any, list[dict[str, str]]]:
    """The statement as a file: its headers, and its lines by the columns' names."""
    address = f"{customer.url}{TRANSACTIONS}?{urlencode({'format': 'csv', **query})}"
    with urllib.request.urlopen(urllib.request.Request(address, headers=customer.headers)) as answer:
        text = answer.read().decode()
        return answer.headers, list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_file_is_the_whole_statement_and_adds_up(payer: Customer) -> None:
    # When the statement is asked for as a file
    headers, lines = exported(payer)
    # Then it is one to keep, with every line of the list, oldest first
    assert headers["Content-Type"] == "text/csv; charset=utf-8"
    assert headers["Content-Disposition"] == 'attachment; filename="statement.csv"'
    assert headers["X-RateLimit-Limit"]
    assert list(lines[0]) == [*COLUMNS, "id"]
    listed = list(payer.items(TRANSACTIONS))[::-1]
    assert [line["id"] for line in lines] == [item["id"] for item in listed]
    assert {line["type"] for line in lines} == {"credit", "debit", "release", "return"}
    # and each balance follows from the one before, in cents and in dollars
    for before, line in itertools.pairwise(lines):
        sign = -1 if line["type"] == "debit" else 1
        assert int(line["balance"]) == int(before["balance"]) + sign * int(line["amount"])
        change_cents = round(float(line["changeUsd"]) * 100)
        assert change_cents == sign * int(line["amount"])
        assert float(line["balanceUsd"]) == int(line["balance"]) / 100
    assert int(lines[-1]["balance"]) == payer.available_cents()
    assert lines[0]["changeUsd"] == "10000.00"
    # and what the customer wrote is a text, and no formula
    assert '\'=HYPERLINK("//x"), "quoted"' in {line["description"] for line in lines}


def test_dates_cut_the_statement_in_two(payer: Customer) -> None:
    # Given a time at which something happened
    everything = [item["id"] for item in payer.items(TRANSACTIONS)]
    items = list(payer.items(TRANSACTIONS))
    cut = items[len(items) // 2]["createdAt"]
    # When the statement is read up to it, and from it on
    before, after = payer.get(TRANSACTIONS, to=cut).data, payer.get(TRANSACTIONS, **{"from": cut}).data
    # Then each line is in one of both, and the totals say how many there are
    assert [item["id"] for item in after["items"] + before["items"]] == everything
    assert (after["total"], before["total"]) == (len(after["items"]), len(before["items"]))
    assert (after["totalIsMinimum"], before["totalIsMinimum"]) == (False, False)
    # and what happened at that very time is in the second
    assert cut in {item["createdAt"] for item in after["items"]}
    # with cursors and types as ever, and in a file too
    first = payer.get(TRANSACTIONS, **{"from": cut}, pageSize=1).data
    rest = payer.get(TRANSACTIONS, **{"from": cut}, cursor=first["nextCursor"]).data
    assert first["items"] + rest["items"] == after["items"]
    credits = payer.get(TRANSACTIONS, to=cut, type="credit").data
    assert [item["type"] for item in credits["items"]] == ["credit"]
    _, lines = exported(payer, to=cut)
    assert [line["id"] for line in lines] == [item["id"] for item in before["items"]][::-1]
    # A day is one of UTC, from its beginning
    today = items[0]["createdAt"][:10]
    tomorrow = (datetime.fromisoformat(today) + timedelta(days=1)).date().isoformat()
    assert payer.get(TRANSACTIONS, **{"from": tomorrow}).data["items"] == []
    assert exported(payer, **{"from": tomorrow})[1] == []
    assert payer.get(TRANSACTIONS, to=tomorrow).data["total"] == len(items)
    same = f"{today}T05:00:00+05:00"
    assert payer.get(TRANSACTIONS, to=same).data["total"] == payer.get(TRANSACTIONS, to=today).data["total"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"from": "2026-02-01T10:00:00"}, "from"),
        ({"to": "20260201"}, "to"),
        ({"to": "0001-01-01T00:00:00+05:00"}, "to"),
        ({"from": "2026-02-02", "to": "2026-02-01"}, "to"),
        ({"from": "2026-02-01", "to": "2026-02-01T00:00:00Z"}, "to"),
        ({"format": "csv", "page": 2}, "page"),
        ({"format": "csv", "cursor": f"txn_{'0' * 26}"}, "cursor"),
        ({"format": "xlsx"}, "format"),
    ],
)
def test_what_is_no_time_is_refused(payer: Customer, query: dict[str, object], field: str) -> None:
    answer = payer.get(TRANSACTIONS, **query)
    assert (answer.status, answer.error["code"], answer.error["details"]["field"]) == (400, "VALIDATION_ERROR", field)


def test_the_projection_shows_what_is_under_way_and_counts_on_nothing(organization: Organization) -> None:
    # Given a wallet with $1,000, a batch for tomorrow that costs more, and one without a time
    planner = organization.sandbox()
    driver_id = fund_and_register(planner, 100_000)
    create_batch(planner, [driver_id] * 3, scheduledFor=time_from_now(days=1))
    create_batch(planner, [driver_id] * 3)
    today = datetime.now(UTC).date()
    found = planner.get(PROJECTION).data
    # Then tomorrow it will not reach
    assert found["shortfall"] == {"date": (today + timedelta(days=1)).isoformat(), "amount": 35_000}
    assert found["unscheduled"] == {"count": 1, "amount": 135_000}
    # When it is topped up, then until the money is there, it is shown on its day and not counted on
    planner.post("/api/v1/funding/topup", {"amount": 50_000, "method": "bank_transfer"}).data  # noqa: B018
    found = planner.get(PROJECTION).data
    if found["pendingTopups"]["count"]:
        assert found["pendingTopups"] == {"count": 1, "amount": 50_000}
        assert sum(day["pendingTopups"] for day in found["dailyProjection"]) == 50_000
        assert found["shortfall"]["amount"] == 35_000
    # and once it is there, the money reaches
    until(lambda: planner.get(PROJECTION).data["shortfall"] is None, "it reaches")
    # When a payout is under way, then its money is in transit, and no longer in the balance
    planner.post("/api/v1/payouts/instant", {"driverId": driver_id, "amount": 10_000}).data  # noqa: B018
    found = planner.get(PROJECTION).data
    assert found["currentBalance"] == 140_000
    assert found["openPayouts"] in ({"count": 1, "amount": 10_000}, {"count": 0, "amount": 0})
