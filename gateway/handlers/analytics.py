"""Endpoints of analytics: figures of a range, by time, by driver, by rail and by reason of failure."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Annotated, Any, Final, TypeVar

import msgspec
import sqlalchemy as sa
from aiohttp import web
from msgspec import UNSET, UnsetType

from gateway.app_state import SERVICES
from gateway.handlers.analytics_shapes import (
    ANALYTICS_COLUMNS,
    AnalyticsDrivers,
    AnalyticsFailures,
    AnalyticsRails,
    AnalyticsSeries,
    AnalyticsSummary,
    driver_outcomes_payload,
    failure_payload,
    totals_payload,
)
from gateway.handlers.requests import success_response, wallet_id
from gateway.http.csv_tables import csv_table_response
from gateway.http.envelope import ApiError
from gateway.http.query_parameters import Format, PageSize
from gateway.openapi.operation import operation
from shared.platform.clock import format_rfc3339
from shared.platform.errors import InvalidRequest
from shared.platform.pagination import PageRequest
from shared.reporting.analytics import queries, ranges, ranking, sources
from shared.reporting.analytics.definitions import add_totals
from shared.reporting.analytics.queries import Interval
from shared.reporting.analytics.ranges import AnalyticsWallet, TimeRange
from shared.schema.ledger import Grain
from shared.schema.payouts import Rail

Result = TypeVar("Result")

CSV_DRIVERS_MAX: Final = 100_000
"""Drivers in a CSV file at the most."""

DateOrTime = Annotated[
    str,
    msgspec.Meta(
        max_length=40,
        pattern=r"^\d{4}-\d\d-\d\d([Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d))?\Z",
        description="A date, which is where that day begins in the organization's time zone, or an RFC 3339 time.",
        examples=["2026-01-31"],
    ),
]


class RangeQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """From when (included) to when (excluded): by default the last 30 days, today included."""

    from_: DateOrTime | UnsetType = msgspec.field(default=UNSET, name="from")
    to: DateOrTime | UnsetType = UNSET
    format: Format = Format.JSON


class RailRangeQuery(RangeQuery, kw_only=True):
    """The same, of one rail only."""

    rail: Rail | UnsetType = UNSET


class TimeseriesQuery(RailRangeQuery, kw_only=True):
    """The same, in times of this length by the organization's calendar; weeks begin on Mondays."""

    interval: Interval = Interval.DAY


class DriverRankingQuery(RangeQuery, kw_only=True):
    """The same, and which drivers."""

    sort: Annotated[ranking.DriverSort, msgspec.Meta(description="By what they are ranked, the most first.")] = (
        ranking.DriverSort.VOLUME
    )
    page: Annotated[int, msgspec.Meta(ge=1, le=10_000_000, description="Which page, from 1.")] = 1
    pageSize: PageSize = 50


def parse_date_or_time(text: str | UnsetType, field: str) -> date | datetime | None:
    """A date, or a time with its offset."""
    if text is UNSET:
        return None
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise InvalidRequest(f"{field} is no date: {error}", field=field) from None


def requested_rail(asked: RailRangeQuery) -> Rail | None:
    """The rail asked for."""
    return None if asked.rail is UNSET else asked.rail


async def read_range(
    request: web.Request,
    asked: RangeQuery,
    work: Callable[[sa.Connection, AnalyticsWallet, TimeRange], Result],
    coarsest: Grain = Grain.YEAR,
) -> tuple[dict[str, Any], Result]:
    """Reads for the range, at one moment; with what every answer says of it. `work` also shapes what it has read: a
    thousand times' figures would keep the event loop from everybody else.
    """
    services, wallet = request.app[SERVICES], wallet_id(request)
    first, last, now = parse_date_or_time(asked.from_, "from"), parse_date_or_time(asked.to, "to"), services.clock.now()

    def run(connection: sa.Connection) -> tuple[AnalyticsWallet, TimeRange, Result]:
        place = ranges.load_analytics_wallet(connection, wallet, now)
        span = ranges.resolve_time_range(connection, place, first, last, coarsest)
        sources.check_fold_lag(connection, place)
        return place, span, work(connection, place, span)

    try:
        place, span, result = await services.read_snapshot(run)
    except sources.AnalyticsBehind:
        raise ApiError(
            503,
            "SERVICE_UNAVAILABLE",
            "The wallet's history is being added up for the first time; ask again in a minute",
            headers={"Retry-After": "60"},
        ) from None
    said = {"from": format_rfc3339(span.starts_at), "to": format_rfc3339(span.ends_at), "timeZone": place.time_zone}
    return said | {"currency": place.currency}, result


def analytics_list_response(
    request: web.Request, asked: RangeQuery, name: str, said: Mapping[str, Any], items: list[dict[str, Any]]
) -> web.Response:
    """A list as JSON, with what is said of it, or as a CSV file."""
    if asked.format is Format.CSV:
        return csv_table_response(f"{name}.csv", ANALYTICS_COLUMNS[name], (list(item.values()) for item in items))
    return success_response(request, {**said, "items": items})


@operation(query=RailRangeQuery, response=AnalyticsSummary, csv=True)
async def get_analytics_summary(request: web.Request, asked: RailRangeQuery) -> web.Response:
    """Adds up a range: volume, fees, counts, success rate, time to paid.

    Everything counts when the ledger moved its money: a payout accepted in May and paid in June is accepted in May and
    paid in June. The figures are exact at any moment.
    """

    def work(connection: sa.Connection, place: AnalyticsWallet, span: TimeRange) -> dict[str, Any]:
        return totals_payload(
            add_totals(queries.load_totals_by_rail(connection, place, span, requested_rail(asked)).values())
        )

    said, figures = await read_range(request, asked, work)
    figures = {**said, **figures}
    if asked.format is Format.CSV:
        return csv_table_response("summary.csv", list(figures), [list(figures.values())])
    return success_response(request, figures)


@operation(query=TimeseriesQuery, response=AnalyticsSeries, csv=True)
async def get_analytics_timeseries(request: web.Request, asked: TimeseriesQuery) -> web.Response:
    """Adds up each day, week or month of a range, in the organization's time zone; at most 1,000 of them.

    `start` is its first day. At the range's ends only what lies within the range counts.
    """

    def work(connection: sa.Connection, place: AnalyticsWallet, span: TimeRange) -> list[dict[str, Any]]:
        series = queries.load_timeseries(connection, place, span, asked.interval, requested_rail(asked))
        return [{"start": start.isoformat(), **totals_payload(figures)} for start, figures in series.items()]

    said, items = await read_range(request, asked, work, queries.COARSEST_GRAIN[asked.interval])
    return analytics_list_response(request, asked, "timeseries", {**said, "interval": asked.interval}, items)


@operation(query=RangeQuery, response=AnalyticsRails, csv=True)
async def get_analytics_by_rail(request: web.Request, asked: RangeQuery) -> web.Response:
    """Adds up a range by rail."""

    def work(connection: sa.Connection, place: AnalyticsWallet, span: TimeRange) -> list[dict[str, Any]]:
        found = queries.load_totals_by_rail(connection, place, span)
        return [{"rail": rail.value, **totals_payload(figures)} for rail, figures in found.items()]

    said, items = await read_range(request, asked, work)
    return analytics_list_response(request, asked, "rails", said, items)


@operation(query=DriverRankingQuery, response=AnalyticsDrivers, csv=True)
async def get_analytics_by_driver(request: web.Request, asked: DriverRankingQuery) -> web.Response:
    """Ranks the drivers by what ended for them in a range, by volume unless `sort` says otherwise.

    As CSV it is the whole ranking.
    """
    part = PageRequest(asked.pageSize, asked.page) if asked.format is Format.JSON else PageRequest(CSV_DRIVERS_MAX)
    skipped = part.skipped

    def work(connection: sa.Connection, place: AnalyticsWallet, span: TimeRange) -> tuple[list[dict[str, Any]], int]:
        found, count = ranking.load_driver_ranking(
            connection, place, span, sort=asked.sort, limit=part.size, skipped=skipped
        )
        return [driver_outcomes_payload(one) for one in found], count

    said, (items, count) = await read_range(request, asked, work)
    paged = {"total": count, "page": part.number, "pageSize": part.size, "hasNextPage": skipped + len(items) < count}
    return analytics_list_response(request, asked, "drivers", {**said, **paged}, items)


@operation(query=RailRangeQuery, response=AnalyticsFailures, csv=True)
async def get_analytics_failures(request: web.Request, asked: RailRangeQuery) -> web.Response:
    """Counts the reasons for which payouts ended badly in a range."""

    def work(connection: sa.Connection, place: AnalyticsWallet, span: TimeRange) -> list[dict[str, Any]]:
        found = queries.load_failure_reasons(connection, place, span, requested_rail(asked))
        count = sum(failure.ended_count for failure in found)
        return [failure_payload(one, count) for one in found]

    said, items = await read_range(request, asked, work)
    return analytics_list_response(request, asked, "failures", said, items)
