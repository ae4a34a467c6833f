"""Handlers of analytics: totals of a range, by time, driver, rail and failure reason."""

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
"""Maximum number of drivers in a CSV file."""

DateOrTime = Annotated[
    str,
    msgspec.Meta(
        max_length=40,
        pattern=r"^\d{4}-\d\d-\d\d([Tt]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d))?\Z",
        description="A date (its start in the organization's time zone), or an RFC 3339 time.",
        examples=["2026-01-31"],
    ),
]


class RangeQuery(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """`from` is inclusive, `to` exclusive; by default the last 30 days, including today."""

    from_: DateOrTime | UnsetType = msgspec.field(default=UNSET, name="from")
    to: DateOrTime | UnsetType = UNSET
    format: Format = Format.JSON


class RailRangeQuery(RangeQuery, kw_only=True):
    rail: Rail | UnsetType = UNSET


class TimeseriesQuery(RailRangeQuery, kw_only=True):
    """A range, divided into intervals by the organization's calendar; weeks begin on Monday."""

    interval: Interval = Interval.DAY


class DriverRankingQuery(RangeQuery, kw_only=True):
    sort: Annotated[ranking.DriverSort, msgspec.Meta(description="The order, highest first.")] = (
        ranking.DriverSort.VOLUME
    )
    page: Annotated[int, msgspec.Meta(ge=1, le=10_000_000, description="The page, from 1.")] = 1
    pageSize: PageSize = 50


def parse_date_or_time(text: str | UnsetType, field: str) -> date | datetime | None:
    if text is UNSET:
        return None
    try:
        return date.fromisoformat(text) if len(text) == 10 else datetime.fromisoformat(text.upper())
    except ValueError as error:
        raise InvalidRequest(f"`{field}` is not a valid date: {error}", field=field) from None


def requested_rail(parameters: RailRangeQuery) -> Rail | None:
    return None if parameters.rail is UNSET else parameters.rail


async def read_range(
    request: web.Request,
    parameters: RangeQuery,
    work: Callable[[sa.Connection, AnalyticsWallet, TimeRange], Result],
    coarsest: Grain = Grain.YEAR,
) -> tuple[dict[str, Any], Result]:
    """Run `work` for a range on one snapshot; return the fields common to all responses, and its result.

    `work` also formats its result on the database thread: formatting a thousand intervals would block the event loop.
    """
    services, id_of_wallet = request.app[SERVICES], wallet_id(request)
    first, last, now = (
        parse_date_or_time(parameters.from_, "from"),
        parse_date_or_time(parameters.to, "to"),
        services.clock.now(),
    )

    def run(connection: sa.Connection) -> tuple[AnalyticsWallet, TimeRange, Result]:
        wallet = ranges.load_analytics_wallet(connection, id_of_wallet, now)
        span = ranges.resolve_time_range(connection, wallet, first, last, coarsest)
        sources.check_fold_lag(connection, wallet)
        return wallet, span, work(connection, wallet, span)

    try:
        wallet, span, result = await services.read_snapshot(run)
    except sources.AnalyticsBehind:
        raise ApiError(
            503,
            "SERVICE_UNAVAILABLE",
            "The wallet's history is being aggregated for the first time; retry in a minute",
            headers={"Retry-After": "60"},
        ) from None
    common = {
        "from": format_rfc3339(span.starts_at),
        "to": format_rfc3339(span.ends_at),
        "timeZone": wallet.time_zone,
    }
    return common | {"currency": wallet.currency}, result


def analytics_list_response(
    request: web.Request, parameters: RangeQuery, name: str, common: Mapping[str, Any], items: list[dict[str, Any]]
) -> web.Response:
    """A list with its common fields as JSON, or as a CSV file."""
    if parameters.format is Format.CSV:
        return csv_table_response(f"{name}.csv", ANALYTICS_COLUMNS[name], (list(item.values()) for item in items))
    return success_response(request, {**common, "items": items})


@operation(query=RailRangeQuery, response=AnalyticsSummary, csv=True)
async def get_analytics_summary(request: web.Request, parameters: RailRangeQuery) -> web.Response:
    """Return a range's totals: volume, fees, counts, success rate, time to paid.

    An event counts at the time of its ledger transfer: a payout can be accepted in May and paid in June. Totals are
    exact and always current.
    """

    def work(connection: sa.Connection, wallet: AnalyticsWallet, span: TimeRange) -> dict[str, Any]:
        return totals_payload(
            add_totals(queries.load_totals_by_rail(connection, wallet, span, requested_rail(parameters)).values())
        )

    common, totals = await read_range(request, parameters, work)
    totals = {**common, **totals}
    if parameters.format is Format.CSV:
        return csv_table_response("summary.csv", list(totals), [list(totals.values())])
    return success_response(request, totals)


@operation(query=TimeseriesQuery, response=AnalyticsSeries, csv=True)
async def get_analytics_timeseries(request: web.Request, parameters: TimeseriesQuery) -> web.Response:
    """Return the totals of each day, week or month of a range, in the organization's time zone; up to 1,000.

    `start` is an interval's first day. The first and last interval only count what is within the range.
    """

    def work(connection: sa.Connection, wallet: AnalyticsWallet, span: TimeRange) -> list[dict[str, Any]]:
        series = queries.load_timeseries(connection, wallet, span, parameters.interval, requested_rail(parameters))
        return [{"start": start.isoformat(), **totals_payload(totals)} for start, totals in series.items()]

    common, items = await read_range(request, parameters, work, queries.COARSEST_GRAIN[parameters.interval])
    return analytics_list_response(
        request, parameters, "timeseries", {**common, "interval": parameters.interval}, items
    )


@operation(query=RangeQuery, response=AnalyticsRails, csv=True)
async def get_analytics_by_rail(request: web.Request, parameters: RangeQuery) -> web.Response:
    """Return a range's totals by rail."""

    def work(connection: sa.Connection, wallet: AnalyticsWallet, span: TimeRange) -> list[dict[str, Any]]:
        found = queries.load_totals_by_rail(connection, wallet, span)
        return [{"rail": rail.value, **totals_payload(totals)} for rail, totals in found.items()]

    common, items = await read_range(request, parameters, work)
    return analytics_list_response(request, parameters, "rails", common, items)


@operation(query=DriverRankingQuery, response=AnalyticsDrivers, csv=True)
async def get_analytics_by_driver(request: web.Request, parameters: DriverRankingQuery) -> web.Response:
    """Return the drivers with completed, failed or returned payouts in a range, by volume or by `sort`.

    `format=csv` returns the complete list.
    """
    page = (
        PageRequest(parameters.pageSize, parameters.page)
        if parameters.format is Format.JSON
        else PageRequest(CSV_DRIVERS_MAX)
    )
    skipped = page.skipped

    def work(connection: sa.Connection, wallet: AnalyticsWallet, span: TimeRange) -> tuple[list[dict[str, Any]], int]:
        found, count = ranking.load_driver_ranking(
            connection, wallet, span, sort=parameters.sort, limit=page.size, skipped=skipped
        )
        return [driver_outcomes_payload(one) for one in found], count

    common, (items, count) = await read_range(request, parameters, work)
    paged = {"total": count, "page": page.number, "pageSize": page.size, "hasNextPage": skipped + len(items) < count}
    return analytics_list_response(request, parameters, "drivers", {**common, **paged}, items)


@operation(query=RailRangeQuery, response=AnalyticsFailures, csv=True)
async def get_analytics_failures(request: web.Request, parameters: RailRangeQuery) -> web.Response:
    """Count the reasons for failed, canceled and returned payouts in a range."""

    def work(connection: sa.Connection, wallet: AnalyticsWallet, span: TimeRange) -> list[dict[str, Any]]:
        found = queries.load_failure_reasons(connection, wallet, span, requested_rail(parameters))
        count = sum(failure.ended_count for failure in found)
        return [failure_payload(one, count) for one in found]

    common, items = await read_range(request, parameters, work)
    return analytics_list_response(request, parameters, "failures", common, items)
