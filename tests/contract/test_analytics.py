"""Analytics endpoints: values, CSV, and invalid parameters."""

import csv
import io
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.contract.callers import ask
from tests.contract.customers import failed_payout
from tests.support.customer import Customer
from tests.support.organization import Organization
from tests.support.polling import until
from tests.support.stack import Stack

pytestmark = pytest.mark.usefixtures("one_date")

PATH = "/api/v1/analytics"
ENDPOINTS = ("summary", "timeseries", "drivers", "rails", "failures")


@pytest.fixture(scope="module")
def organization(fast_stack: Stack) -> Organization:
    return Organization(fast_stack)


@pytest.fixture(scope="module")
def carrier(organization: Organization) -> Customer:
    """A wallet with two standard and one instant payout paid, one failed, and one retried after a failure."""
    carrier = organization.sandbox()
    carrier.fund(1_000_000)
    formula = str(carrier.verified_driver("=1+1")["id"])
    other = str(carrier.verified_driver("Ann Other")["id"])
    paid = [carrier.pay(formula, cents)["id"] for cents in (10_000, 20_000)]
    paid += [carrier.pay(other, 5_000, urgency="instant")["id"]]
    failed_payout(carrier, other, 7_000)
    retried = failed_payout(carrier, other, 8_000)
    assert carrier.post(f"/api/v1/payouts/{retried}/retry", {}).status == 200
    for payout_id in paid:
        carrier.until_payout(payout_id, "completed")
    until(lambda: carrier.payout(retried)["status"] in ("completed", "failed"), "the retry has ended")
    return carrier


def analytics(carrier: Customer, endpoint: str, **query: object) -> Any:
    """Return the response's data; `from_` is `from`."""
    return carrier.get(f"{PATH}/{endpoint}", **{name.rstrip("_"): value for name, value in query.items()}).data


def load_csv(carrier: Customer, endpoint: str, **query: str) -> list[dict[str, str]]:
    """Return the rows of the CSV response."""
    got = ask(carrier.url, "GET", f"{PATH}/{endpoint}", None, carrier.headers, format="csv", **query)
    assert (got.status, got.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert got.headers["Content-Disposition"] == f'attachment; filename="{endpoint}.csv"'
    return list(csv.DictReader(io.StringIO(got.text, newline="")))


def test_analytics_match_the_list_of_payouts(carrier: Customer) -> None:
    # Given the list of payouts
    payouts = list(carrier.items("/api/v1/payouts"))
    paid = [payout for payout in payouts if payout["status"] == "completed"]
    attempts = sum(payout["attempt"] for payout in payouts)
    # Then the summary matches it at once
    summary = analytics(carrier, "summary")
    assert summary["volume"] == sum(payout["amount"] for payout in paid)
    assert summary["fees"] == sum(payout["fee"] for payout in paid)
    assert summary["netVolume"] == sum(payout["netAmount"] for payout in paid)
    assert (summary["paidCount"], summary["failedCount"]) == (len(paid), attempts - len(paid))
    assert (summary["acceptedCount"], summary["retriedCount"]) == (len(payouts), 1)
    assert summary["successRate"] == pytest.approx(len(paid) / attempts, abs=1e-5)
    assert 0 < summary["timeToPaidP50Seconds"] <= summary["timeToPaidP95Seconds"] < 60
    assert (summary["timeZone"], summary["currency"]) == ("UTC", "USD")
    # and so do the sums of rails, days and drivers
    rails = analytics(carrier, "rails")["items"]
    assert [each["rail"] for each in rails] == ["standard", "same_day", "instant"]
    assert [each["paidCount"] for each in rails[1:]] == [0, 1]
    days = analytics(carrier, "timeseries")["items"]
    assert len(days) == 30
    drivers = analytics(carrier, "drivers")
    assert (drivers["total"], drivers["page"], drivers["hasNextPage"]) == (2, 1, False)
    for apart in (rails, days, drivers["items"]):
        for figure in ("volume", "fees", "netVolume", "paidCount", "failedCount", "failedAmount"):
            assert sum(each[figure] for each in apart) == summary[figure], figure


def test_drivers_are_ranked_and_paged(carrier: Customer) -> None:
    by_volume = analytics(carrier, "drivers")["items"]
    assert [each["driverName"] for each in by_volume] == ["=1+1", "Ann Other"]
    by_failures = analytics(carrier, "drivers", sort="failedCount")["items"]
    assert [each["driverName"] for each in by_failures] == ["Ann Other", "=1+1"]
    second = analytics(carrier, "drivers", page=2, pageSize=1)
    assert second["items"] == by_volume[1:]
    beyond = analytics(carrier, "drivers", page=3, pageSize=1)
    assert (beyond["items"], beyond["total"]) == ([], 2)


def test_failures_are_counted_by_reason(carrier: Customer) -> None:
    failed = analytics(carrier, "summary")["failedCount"]
    [reason] = analytics(carrier, "failures")["items"]
    assert (reason["outcome"], reason["code"], reason["count"]) == ("failed", "BANK_REJECTED", failed)
    assert reason["share"] == 1
    retried = [payout for payout in carrier.items("/api/v1/payouts", status="completed") if payout["attempt"] == 2]
    assert reason["recoveredCount"] == len(retried)


def test_rail_and_range_filter(carrier: Customer) -> None:
    instant = analytics(carrier, "summary", rail="instant")
    assert (instant["volume"], instant["acceptedCount"]) == (5_000, 1)
    assert analytics(carrier, "failures", rail="instant")["items"] == []
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    later = analytics(carrier, "summary", from_=tomorrow, to=tomorrow + timedelta(days=1))
    assert (later["volume"], later["acceptedCount"], later["successRate"]) == (0, 0, None)
    assert later["timeToPaidP50Seconds"] is None
    assert later["from"] == f"{tomorrow}T00:00:00.000Z"
    # Times have milliseconds and may have an offset
    [first, *_] = sorted(payout["requestedAt"] for payout in carrier.items("/api/v1/payouts"))
    before = analytics(carrier, "summary", from_="2026-01-01T00:00:00+02:00", to=first)
    assert before["acceptedCount"] == 0
    assert before["from"] == "2025-12-31T22:00:00.000Z"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_csv_equals_json(carrier: Customer, endpoint: str) -> None:
    data = analytics(carrier, endpoint)
    items = data.get("items", [data])
    lines = load_csv(carrier, endpoint)
    assert lines
    expected = [{name: "" if value is None else str(value) for name, value in item.items()} for item in items]
    for line in expected:  # spreadsheets must not evaluate it
        if "driverName" in line:
            line["driverName"] = line["driverName"].replace("=", "'=")
    assert lines == expected


def test_empty_csv_has_its_columns(carrier: Customer) -> None:
    got = ask(carrier.url, "GET", f"{PATH}/failures", None, carrier.headers, format="csv", to="2020-01-01")
    assert got.text == "outcome,code,count,amount,share,recoveredCount\r\n"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"from": "2026-02-02", "to": "2026-02-01"}, "from"),
        ({"from": "2026-02-01", "to": "2026-02-01"}, "from"),
        ({"from": "2026-02-30"}, "from"),
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-02-01T10:00:00"}, "to"),
        ({"to": "2026-02-01T25:00:00Z"}, "to"),
        ({"to": "9999-12-31T23:59:59-23:59"}, "to"),
        ({"from": "0001-01-01"}, "from"),
        ({"from": "2000-01-01", "to": "2026-01-01"}, "interval"),
        ({"interval": "hour"}, "interval"),
        ({"rail": "rocket"}, "rail"),
        ({"format": "xml"}, "format"),
        ({"page": "1"}, "page"),
    ],
    ids=str,
)
def test_invalid_parameters_are_rejected(carrier: Customer, query: dict[str, str], field: str) -> None:
    answer = carrier.get(f"{PATH}/timeseries", **query)
    assert (answer.status, answer.error["code"], answer.error["details"]["field"]) == (400, "VALIDATION_ERROR", field)


def test_up_to_1000_intervals_and_weeks_begin_on_mondays(carrier: Customer) -> None:
    begin = date(2024, 1, 3)  # a Wednesday
    days = analytics(carrier, "timeseries", from_=begin, to=begin + timedelta(days=1_000))["items"]
    assert len(days) == 1_000
    weeks = analytics(carrier, "timeseries", from_=begin, to=begin + timedelta(days=15), interval="week")["items"]
    assert [week["start"] for week in weeks] == ["2024-01-01", "2024-01-08", "2024-01-15"]
    months = analytics(carrier, "timeseries", from_="2024-01-31", to="2024-04-01", interval="month")["items"]
    assert [month["start"] for month in months] == ["2024-01-01", "2024-02-01", "2024-03-01"]


def test_time_zone_set_by_command_recomputes_past_days(
    fast_stack: Stack, organization: Organization, carrier: Customer
) -> None:
    before = analytics(carrier, "summary")

    def ovnpay(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [Path(sys.executable).with_name("ovnpay"), "organization", "--name", organization.name, *arguments]
        return subprocess.run(
            command, env=os.environ | fast_stack.operator_environment(), capture_output=True, text=True
        )

    refused = ovnpay("--time-zone", "Mars/Olympus")
    assert (refused.returncode, "no time zone 'Mars/Olympus'" in refused.stderr) == (2, True)
    done = ovnpay("--time-zone", "Pacific/Kiritimati")  # 14 hours ahead
    assert (done.returncode, done.stdout) == (0, f"{organization.name}: time zone Pacific/Kiritimati\n"), done
    try:
        after = analytics(carrier, "summary", from_="2026-01-01", to="2026-01-02")
        assert (after["timeZone"], after["from"]) == ("Pacific/Kiritimati", "2025-12-31T10:00:00.000Z")
        today = (datetime.now(UTC) + timedelta(hours=14)).date()
        days = analytics(carrier, "timeseries")["items"]
        assert days[-1]["start"] == today.isoformat()
        assert sum(day["volume"] for day in days) == before["volume"]
    finally:
        assert ovnpay("--time-zone", "UTC").returncode == 0
