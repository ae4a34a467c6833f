"""Response shapes of analytics, and their formatting; `shared.reporting.analytics.definitions` defines the terms."""

from typing import Annotated, Any, Final, Literal, TypedDict

from msgspec import Meta

from gateway.handlers.common_shapes import Cents, Count, DriverId, DriverName, OvnDriverId, Time
from shared.platform.ids import DRIVER, public_id
from shared.reporting.analytics import definitions
from shared.reporting.analytics.queries import FailureReason
from shared.reporting.analytics.ranking import DriverTotals
from shared.schema.payouts import Rail

Rate = Annotated[
    float,
    Meta(ge=0, le=1, description="Share of paid among paid and failed attempts; null without any.", examples=[0.98]),
]
Seconds = Annotated[
    float,
    Meta(
        ge=0,
        description="From the reservation of the amount (at acceptance or, in a batch, at its release) to "
        "completion, including retries; accurate to 5 %. Null if nothing was paid.",
        examples=[31.4],
    ),
]
Day = Annotated[str, Meta(examples=["2026-01-26"], pattern=r"^\d{4}-\d\d-\d\d$")]
Code = Annotated[str, Meta(description="The reason; UNKNOWN if none was recorded.", examples=["BANK_REJECTED"])]
NetCents = Annotated[
    int, Meta(ge=0, description="What the drivers received of the volume, in cents.", examples=[44750])
]
FeeCents = Annotated[int, Meta(ge=0, description="The fees included in the volume, in cents.", examples=[250])]
ReturnedCount = Annotated[
    Count, Meta(description="Payouts returned by banks, whenever they completed; they stay in the volume.")
]
ReturnedCents = Annotated[Cents, Meta(description="The net amount of the returned payouts, in cents.")]


class AnalyticsOutcomes(TypedDict):
    """The payouts that ended in the range; amounts are in cents."""

    volume: Annotated[Cents, Meta(description="The amount of the completed payouts, in cents.")]
    fees: FeeCents
    netVolume: NetCents
    paidCount: Annotated[Count, Meta(description="Completed payouts.")]
    failedCount: Annotated[Count, Meta(description="Failed attempts.")]
    failedAmount: Cents
    returnedCount: ReturnedCount
    returnedAmount: ReturnedCents
    successRate: Rate | None
    timeToPaidP50Seconds: Seconds | None
    timeToPaidP95Seconds: Seconds | None


class AnalyticsTotals(AnalyticsOutcomes):
    """The payouts that began and ended in the range, by the time of their ledger transfers."""

    acceptedCount: Annotated[
        Count, Meta(description="Payouts whose amount was reserved, at acceptance or, in a batch, at its release.")
    ]
    acceptedAmount: Cents
    retriedCount: Annotated[Count, Meta(description="Further attempts, with another reservation.")]
    retriedAmount: Cents
    canceledCount: Annotated[Count, Meta(description="Payouts canceled after their amount was reserved.")]
    canceledAmount: Cents


_Range = TypedDict(
    "_Range",
    {
        "from": Time,
        "to": Time,
        "timeZone": Annotated[
            str, Meta(description="The organization's time zone, used for dates.", examples=["America/Chicago"])
        ],
        "currency": Annotated[str, Meta(examples=["USD"])],
    },
)


class AnalyticsSummary(_Range, AnalyticsTotals):
    """A range's totals."""


class AnalyticsInterval(AnalyticsTotals):
    """The totals of a day, week or month, as far as it is within the range."""

    start: Day
    """The first day."""


class AnalyticsSeries(_Range):
    """The totals of each interval, including empty ones."""

    interval: Literal["day", "week", "month"]
    items: list[AnalyticsInterval]


class AnalyticsRail(AnalyticsTotals):
    """A rail's totals."""

    rail: Rail


class AnalyticsRails(_Range):
    """The totals of each rail."""

    items: list[AnalyticsRail]


class AnalyticsDriver(AnalyticsOutcomes):
    """A driver's totals."""

    driverId: DriverId
    ovnDriverId: OvnDriverId
    driverName: DriverName


class AnalyticsDrivers(_Range):
    """The drivers with ended payouts in the range, in the requested order."""

    items: list[AnalyticsDriver]
    total: Annotated[int, Meta(ge=0, description="The number of drivers in the whole list.", examples=[142])]
    page: Annotated[int, Meta(ge=1, examples=[1])]
    pageSize: Annotated[int, Meta(ge=1, le=100, examples=[50])]
    hasNextPage: bool


class AnalyticsFailure(TypedDict):
    """A reason for failed, canceled or returned payouts."""

    outcome: Annotated[
        Literal["failed", "canceled", "returned"],
        Meta(description="Failed attempts; payouts canceled because the driver could not be paid; bank returns."),
    ]
    code: Code
    count: Count
    amount: Annotated[Cents, Meta(description="The amount that became available again, in cents.")]
    share: Annotated[
        float, Meta(ge=0, le=1, description="Share of all items of the response, by count.", examples=[0.25])
    ]
    recoveredCount: Annotated[Count, Meta(description="Payouts paid in the range by a later attempt.")]


class AnalyticsFailures(_Range):
    """The reasons, most frequent first."""

    items: list[AnalyticsFailure]


def outcomes_payload(totals: definitions.OutcomeTotals) -> dict[str, Any]:
    """Format the payouts that ended."""
    return {
        "volume": totals.volume_cents,
        "fees": totals.fee_cents,
        "netVolume": totals.net_cents,
        "paidCount": totals.paid_count,
        "failedCount": totals.failed_count,
        "failedAmount": totals.failed_cents,
        "returnedCount": totals.returned_count,
        "returnedAmount": totals.returned_cents,
        "successRate": totals.success_rate,
        "timeToPaidP50Seconds": totals.p50_seconds,
        "timeToPaidP95Seconds": totals.p95_seconds,
    }


def totals_payload(totals: definitions.PayoutTotals) -> dict[str, Any]:
    """Format the payouts that began and ended."""
    return outcomes_payload(totals) | {
        "acceptedCount": totals.accepted_count,
        "acceptedAmount": totals.accepted_cents,
        "retriedCount": totals.retried_count,
        "retriedAmount": totals.retried_cents,
        "canceledCount": totals.canceled_count,
        "canceledAmount": totals.canceled_cents,
    }


def driver_outcomes_payload(found: DriverTotals) -> dict[str, Any]:
    """Format a driver's totals."""
    return {
        "driverId": public_id(DRIVER, found.driver_id),
        "ovnDriverId": found.ovn_driver_id,
        "driverName": found.name,
        **outcomes_payload(found.totals),
    }


def failure_payload(found: FailureReason, count: int) -> dict[str, Any]:
    """Format a reason, with its share of `count`."""
    return {
        "outcome": found.outcome,
        "code": found.code,
        "count": found.ended_count,
        "amount": found.ended_cents,
        "share": round(found.ended_count / count, 6) if count else 0.0,
        "recoveredCount": found.recovered_count,
    }


ANALYTICS_COLUMNS: Final = {
    "timeseries": ["start", *totals_payload(definitions.PayoutTotals())],
    "rails": ["rail", *totals_payload(definitions.PayoutTotals())],
    "drivers": ["driverId", "ovnDriverId", "driverName", *outcomes_payload(definitions.OutcomeTotals())],
    "failures": ["outcome", "code", "count", "amount", "share", "recoveredCount"],
}
"""The CSV columns of each list: the fields of its items."""
