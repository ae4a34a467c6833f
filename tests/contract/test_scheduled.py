"""Scheduled batches are listed, counted and projected until they are released."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.batches import AMOUNTS_CENTS, PATH, create_batch, is_same_time, time_from_now, until_batch
from tests.support.customer import Customer
from tests.support.organization import Organization

pytestmark = pytest.mark.usefixtures("one_date")

LIST, STATS, PROJECTION = "/api/v1/scheduled-payouts", "/api/v1/scheduled-payouts/stats", "/api/v1/funding/projection"
TOTAL_CENTS = sum(AMOUNTS_CENTS)
NOTHING = {"queued": 0, "processing": 0, "completed": 0, "failed": 0}


@pytest.fixture
def planner(organization: Organization) -> Customer:
    """A customer with an empty wallet and no scheduled batches."""
    return organization.sandbox()


@pytest.fixture
def drivers(planner: Customer) -> list[str]:
    """One verified driver, three times."""
    return [planner.verified_driver("Sue Scheduled")["id"]] * 3


def _days(projection: Any) -> dict[str, int]:
    """Return the outflow of each day that has one."""
    return {day["date"]: day["outflow"] for day in projection["dailyProjection"] if day["outflow"]}


def test_empty_schedule(planner: Customer) -> None:
    # When there are no scheduled batches
    data = planner.get(LIST).data
    assert (data["items"], data["total"], data["page"], data["pageSize"], data["hasNextPage"]) == ([], 0, 1, 20, False)
    stats = {"total": 0, "byStatus": NOTHING, "upcomingTotal": 0, "nextScheduled": None}
    assert planner.get(STATS).data == stats
    # Then the projected balance stays the same, from today on
    today = datetime.now(UTC).date()
    projection = planner.get(PROJECTION).data
    assert (projection["currentBalance"], projection["projectedBalance"], projection["projectedOutflow"]) == (0, 0, 0)
    assert projection["shortfall"] is None
    dates = [day["date"] for day in projection["dailyProjection"]]
    assert len(dates) == 30
    first = datetime.fromisoformat(dates[0]).date()
    assert first in (today, datetime.now(UTC).date())
    assert dates == [(first + timedelta(days=number)).isoformat() for number in range(30)]
    assert _days(projection) == {}


def test_scheduled_batches_are_listed_and_counted(planner: Customer, drivers: list[str]) -> None:
    # Given two scheduled batches and one without a time
    later = create_batch(planner, drivers, scheduledFor=time_from_now(days=3))
    next_one = create_batch(planner, drivers, scheduledFor=time_from_now(days=1))
    create_batch(planner, drivers)
    # When the scheduled ones are listed
    data = planner.get(LIST).data
    # Then the list has those two
    assert {item["id"] for item in data["items"]} == {later["id"], next_one["id"]}
    assert data["total"] == 2
    assert {item["id"] for item in planner.get(LIST, status="queued").data["items"]} == {later["id"], next_one["id"]}
    for status in ("processing", "completed", "failed"):
        assert planner.get(LIST, status=status).data["items"] == []
    assert planner.get(LIST, status="lost").status == 400
    # and the stats count them
    stats = planner.get(STATS).data
    assert (stats["total"], stats["byStatus"]) == (2, NOTHING | {"queued": 2})
    assert stats["upcomingTotal"] == 2 * TOTAL_CENTS
    assert is_same_time(stats["nextScheduled"], next_one["scheduledFor"])


def test_projection_has_the_outflow_of_each_day(planner: Customer, drivers: list[str]) -> None:
    # Given an empty wallet and a scheduled batch
    created = create_batch(planner, drivers, scheduledFor=time_from_now(days=3))
    day = created["scheduledFor"][:10]
    # When the wallet is projected
    projection = planner.get(PROJECTION).data
    # Then that day has the batch's outflow and the shortfall
    assert _days(projection) == {day: TOTAL_CENTS}
    assert (projection["projectedOutflow"], projection["projectedBalance"]) == (TOTAL_CENTS, -TOTAL_CENTS)
    assert projection["shortfall"] == {"date": day, "amount": TOTAL_CENTS}
    # and later days are not included
    near = planner.get(PROJECTION, days=2).data
    assert len(near["dailyProjection"]) == 2
    assert (near["projectedOutflow"], near["shortfall"]) == (0, None)
    assert len(planner.get(PROJECTION, days=366).data["dailyProjection"]) == 366
    # And a batch early in the morning in Karachi counts for the day before: days are in UTC
    morning = (datetime.now(UTC) + timedelta(days=5)).replace(hour=2, minute=0, second=0, microsecond=0)
    create_batch(planner, drivers, scheduledFor=f"{morning:%Y-%m-%dT%H:%M:%S}+05:00")
    day_before = f"{morning - timedelta(days=1):%Y-%m-%d}"
    assert _days(planner.get(PROJECTION).data) == {day: TOTAL_CENTS, day_before: TOTAL_CENTS}
    # And an invalid number of days is rejected
    for days in ("0", "367", "-1", "all", "1.5"):
        answer = planner.get(PROJECTION, days=days)
        assert (answer.status, answer.error["details"]["field"]) == (400, "days")


def test_released_batch_is_not_upcoming(planner: Customer, drivers: list[str]) -> None:
    # Given a scheduled batch that the wallet covers
    planner.fund(TOTAL_CENTS + 5_000)
    created = create_batch(planner, drivers, scheduledFor=time_from_now(days=3))
    projection = planner.get(PROJECTION).data
    assert (projection["currentBalance"], projection["projectedBalance"]) == (TOTAL_CENTS + 5_000, 5_000)
    assert projection["shortfall"] is None
    # When it is run before its time
    assert planner.post(f"{PATH}/{created['id']}/run", {}).data["status"] == "processing"
    until_batch(planner, created["id"], "completed")
    # Then it is counted as completed, and nothing is upcoming
    stats = planner.get(STATS).data
    assert stats == {
        "total": 1,
        "byStatus": NOTHING | {"completed": 1},
        "upcomingTotal": 0,
        "nextScheduled": None,
    }
    assert [item["id"] for item in planner.get(LIST, status="completed").data["items"]] == [created["id"]]
    # and the projection has the remaining balance
    projection = planner.get(PROJECTION).data
    assert (projection["currentBalance"], projection["projectedBalance"]) == (5_000, 5_000)
    assert _days(projection) == {}
