"""Endpoints of analytics: figures of a range, by time, by driver, by rail and by reason of failure."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
import sqlalchemy as sa
from aiohttp import web
from msgspec import UNSET, UnsetType

from gateway.envelope import ApiError
from gateway.handlers import analytics_shapes as shapes
from gateway.handlers.common import success, wallet_id
from gateway.operation import operation
from gateway.query import Format, PageNumber, PageSize
from gateway.state import SERVICES
from gateway.tabular import csv_answer
from shared.analytics import ranges, ranking, reading, sources
from shared.analytics.ranges import Place, Span
from shared.analytics.reading import Interval
from shared.analytics.words import Ended, Totals, together
from shared.clock import rfc3339
from shared.errors import Invalid
from shared.ids import DRIVER, show
from shared.lists import Wanted
from shared.models.analytics import Grain
from shared.models.payouts import Rail

Result = TypeVar("Result")

DRIVERS_A_FILE: Final = 100_000
"""Drivers in a CSV file at the most."""

Moment = Annotated[
    str,
    msgspec.Meta(
        max_length=40,
        pattern=r"^\d{4}-\d\d-\d\d([Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d))?\Z",
        description="A date, which is where that day begins in the organization's time zone, or an RFC 3339 time.",
        examples=["2026-01-31"],
    ),
]


class Range(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """From when (included) to when (excluded): by default the last 30 days, today included."""

    from_: Moment | UnsetType = msgspec.field(default=UNSET, name="from")
    to: Moment | UnsetType = UNSET
    format: Format = Format.JSON


class OfRail(Range, kw_only=True):
    """The same, of one rail only."""

    rail: Rail | UnsetType = UNSET


class Series(OfRail, kw_only=True):
    """The same, in times of this length by the organization's calendar; weeks begin on Mondays."""

    interval: Interval = Interval.DAY


class Ranking(Range, kw_only=True):
    """The same, and which drivers."""

    sort: Annotated[ranking.Sort, msgspec.Meta(description="By what they are ranked, the most first.")] = (
        ranking.Sort.VOLUME
    )
    page: PageNumber = 1
    pageSize: PageSize = 50


def moment(text: str | UnsetType, field: str) -> date | datetime | None:
    """A date, or a time with its offset."""
    if text is UNSET:
        return None
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise Invalid(f"{field} is no date: {error}", field=field) from None


def only(asked: OfRail) -> Rail | None:
    """The rail asked for."""
    return None if asked.rail is UNSET else asked.rail


async def read(
    request: web.Request,
    asked: Range,
    work: Callable[[sa.Connection, Place, Span], Result],
    coarsest: Grain = Grain.YEAR,
) -> tuple[dict[str, Any], Result]:
    """Reads for the range, at one moment; with what every answer says of it."""
    services, wallet = request.app[SERVICES], wallet_id(request)
    first, last, now = moment(asked.from_, "from"), moment(asked.to, "to"), services.clock.now()

    def run(connection: sa.Connection) -> tuple[Place, Span, Result]:
        place = ranges.place(connection, wallet, now)
        span = ranges.span(connection, place, first, last, coarsest)
        sources.check_near(connection, place)
        return place, span, work(connection, place, span)

    try:
        place, span, result = await services.read_at_once(run)
    except sources.Behind:
        raise ApiError(
            503,
            "SERVICE_UNAVAILABLE",
            "The wallet's history is being added up for the first time; ask again in a minute",
            headers={"Retry-After": "60"},
        ) from None
    said = {"from": utc(span.starts_at), "to": utc(span.ends_at), "timeZone": place.time_zone}
    return said | {"currency": place.currency}, result


def utc(moment: datetime) -> str:
    """A time as the API writes it."""
    return rfc3339(moment.astimezone(UTC))


def answer(
    request: web.Request, asked: Range, name: str, said: Mapping[str, Any], items: Iterable[dict[str, Any]]
) -> web.Response:
    """A list as JSON, with what is said of it, or as a CSV file. `items` has the columns' names even if it is empty."""
    listed = list(items)
    if asked.format is Format.CSV:
        return csv_answer(f"{name}.csv", list(COLUMNS[name]), [list(item.values()) for item in listed])
    return success(request, {**said, "items": listed})


def ended(figures: Ended) -> dict[str, Any]:
    """What ended, as it is shown."""
    return {
        "volume": figures.volume_cents,
        "fees": figures.fee_cents,
        "netVolume": figures.net_cents,
        "paidCount": figures.paid_count,
        "failedCount": figures.failed_count,
        "failedAmount": figures.failed_cents,
        "returnedCount": figures.returned_count,
        "returnedAmount": figures.returned_cents,
        "successRate": figures.success_rate,
        "timeToPaidP50Seconds": figures.p50_seconds,
        "timeToPaidP95Seconds": figures.p95_seconds,
    }


def totals(figures: Totals) -> dict[str, Any]:
    """What began and what ended, as it is shown."""
    return ended(figures) | {
        "acceptedCount": figures.accepted_count,
        "acceptedAmount": figures.accepted_cents,
        "retriedCount": figures.retried_count,
        "retriedAmount": figures.retried_cents,
        "canceledCount": figures.canceled_count,
        "canceledAmount": figures.canceled_cents,
    }


COLUMNS: Final = {
    "timeseries": ["start", *totals(Totals())],
    "rails": ["rail", *totals(Totals())],
    "drivers": ["driverId", "ovnDriverId", "driverName", *ended(Ended())],
    "failures": ["outcome", "code", "count", "amount", "share", "recoveredCount"],
}
"""The columns of each list as CSV: those of its items."""


@operation(query=OfRail, answer=shapes.AnalyticsSummary, csv=True)
async def summary(request: web.Request, asked: OfRail) -> web.Response:
    """Adds up a range: volume, fees, counts, success rate, time to paid.

    Everything counts when the ledger moved its money: a payout accepted in May and paid in June is accepted in May and
    paid in June. The figures are exact at any moment.
    """
    said, rails = await read(
        request, asked, lambda connection, place, span: reading.by_rail(connection, place, span, only(asked))
    )
    figures = {**said, **totals(together(rails.values()))}
    if asked.format is Format.CSV:
        return csv_answer("summary.csv", list(figures), [list(figures.values())])
    return success(request, figures)


@operation(query=Series, answer=shapes.AnalyticsSeries, csv=True)
async def timeseries(request: web.Request, asked: Series) -> web.Response:
    """Adds up each day, week or month of a range, in the organization's time zone; at most 1,000 of them.

    `start` is its first day. At the range's ends only what lies within the range counts.
    """
    said, series = await read(
        request,
        asked,
        lambda connection, place, span: reading.series(connection, place, span, asked.interval, only(asked)),
        reading.COARSEST[asked.interval],
    )
    items = ({"start": start.isoformat(), **totals(figures)} for start, figures in series.items())
    return answer(request, asked, "timeseries", {**said, "interval": asked.interval}, items)


@operation(query=Range, answer=shapes.AnalyticsRails, csv=True)
async def rails(request: web.Request, asked: Range) -> web.Response:
    """Adds up a range by rail."""
    said, found = await read(request, asked, reading.by_rail)
    items = ({"rail": rail.value, **totals(figures)} for rail, figures in found.items())
    return answer(request, asked, "rails", said, items)


@operation(query=Ranking, answer=shapes.AnalyticsDrivers, csv=True)
async def drivers(request: web.Request, asked: Ranking) -> web.Response:
    """Ranks the drivers by what ended for them in a range, by volume unless `sort` says otherwise.

    As CSV it is the whole ranking.
    """
    part = Wanted(asked.pageSize, asked.page) if asked.format is Format.JSON else Wanted(DRIVERS_A_FILE)
    skipped = part.skipped
    said, (found, count) = await read(
        request,
        asked,
        lambda connection, place, span: ranking.drivers(
            connection, place, span, sort=asked.sort, limit=part.size, skipped=skipped
        ),
    )
    items = (
        {
            "driverId": show(DRIVER, driver.driver_id),
            "ovnDriverId": driver.ovn_driver_id,
            "driverName": driver.name,
            **ended(driver.ended),
        }
        for driver in found
    )
    paged = {"total": count, "page": part.number, "pageSize": part.size, "hasNextPage": skipped + len(found) < count}
    return answer(request, asked, "drivers", {**said, **paged}, items)


@operation(query=OfRail, answer=shapes.AnalyticsFailures, csv=True)
async def failures(request: web.Request, asked: OfRail) -> web.Response:
    """Counts the reasons for which payouts ended badly in a range."""
    said, found = await read(
        request, asked, lambda connection, place, span: reading.failures(connection, place, span, only(asked))
    )
    count = sum(failure.ended_count for failure in found)
    items = (
        {
            "outcome": failure.outcome,
            "code": failure.code,
            "count": failure.ended_count,
            "amount": failure.ended_cents,
            "share": round(failure.ended_count / count, 6) if count else 0.0,
            "recoveredCount": failure.recovered_count,
        }
        for failure in found
    )
    return answer(request, asked, "failures", said, items)
