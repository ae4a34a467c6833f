"""Shapes of the analytics answers and how figures fill them; see `shared.reporting.analytics.definitions`."""

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
    Meta(ge=0, le=1, description="Paid of paid and failed attempts; null where there is neither.", examples=[0.98]),
]
Seconds = Annotated[
    float,
    Meta(
        ge=0,
        description="From when the amount was set aside (at acceptance or, in a batch, at its release) to the "
        "completion, retries included; within 5 %. Null where nothing was paid.",
        examples=[31.4],
    ),
]
Day = Annotated[str, Meta(examples=["2026-01-26"], pattern=r"^\d{4}-\d\d-\d\d$")]
Code = Annotated[str, Meta(description="The reason; UNKNOWN where none was kept.", examples=["BANK_REJECTED"])]
NetCents = Annotated[
    int, Meta(ge=0, description="What the drivers received of the volume, in cents.", examples=[44750])
]
FeeCents = Annotated[int, Meta(ge=0, description="What we kept of the volume, in cents.", examples=[250])]
ReturnedCount = Annotated[
    Count, Meta(description="Payouts that banks sent back, whenever they had completed; they stay in volume.")
]
ReturnedCents = Annotated[Cents, Meta(description="What came back of them: their net amounts, in cents.")]


class AnalyticsOutcomes(TypedDict):
    """What ended in the range; all amounts are in cents."""

    volume: Annotated[Cents, Meta(description="The amounts of payouts that completed, in cents.")]
    fees: FeeCents
    netVolume: NetCents
    paidCount: Annotated[Count, Meta(description="Payouts that completed.")]
    failedCount: Annotated[Count, Meta(description="Attempts that failed.")]
    failedAmount: Cents
    returnedCount: ReturnedCount
    returnedAmount: ReturnedCents
    successRate: Rate | None
    timeToPaidP50Seconds: Seconds | None
    timeToPaidP95Seconds: Seconds | None


class AnalyticsTotals(AnalyticsOutcomes):
    """What began and what ended in the range, each counted when its money moved in the ledger."""

    acceptedCount: Annotated[
        Count, Meta(description="Payouts whose amount was set aside: at acceptance or, in a batch, at its release.")
    ]
    acceptedAmount: Cents
    retriedCount: Annotated[Count, Meta(description="Further attempts, whose amount was set aside again.")]
    retriedAmount: Cents
    canceledCount: Annotated[Count, Meta(description="Payouts called off after their amount was set aside.")]
    canceledAmount: Cents


_Range = TypedDict(
    "_Range",
    {
        "from": Time,
        "to": Time,
        "timeZone": Annotated[
            str, Meta(description="The organization's, by which days go.", examples=["America/Chicago"])
        ],
        "currency": Annotated[str, Meta(examples=["USD"])],
    },
)


class AnalyticsSummary(_Range, AnalyticsTotals):
    """A range's figures."""


class AnalyticsInterval(AnalyticsTotals):
    """A day's, week's or month's figures, or those of the range's part of it."""

    start: Day
    """The first day."""


class AnalyticsSeries(_Range):
    """Figures, one time after the other; those in which nothing happened are there too."""

    interval: Literal["day", "week", "month"]
    items: list[AnalyticsInterval]


class AnalyticsRail(AnalyticsTotals):
    """A rail's figures."""

    rail: Rail


class AnalyticsRails(_Range):
    """Every rail's figures."""

    items: list[AnalyticsRail]


class AnalyticsDriver(AnalyticsOutcomes):
    """A driver's figures."""

    driverId: DriverId
    ovnDriverId: OvnDriverId
    driverName: DriverName


class AnalyticsDrivers(_Range):
    """Drivers for whom anything ended in the range, the first in the chosen order first."""

    items: list[AnalyticsDriver]
    total: Annotated[int, Meta(ge=0, description="How many there are in all.", examples=[142])]
    page: Annotated[int, Meta(ge=1, examples=[1])]
    pageSize: Annotated[int, Meta(ge=1, le=100, examples=[50])]
    hasNextPage: bool


class AnalyticsFailure(TypedDict):
    """A reason for which payouts ended badly."""

    outcome: Annotated[
        Literal["failed", "canceled", "returned"],
        Meta(description="Failed attempts; payouts canceled because the driver could not be paid; bank returns."),
    ]
    code: Code
    count: Count
    amount: Annotated[Cents, Meta(description="What was available again by it, in cents.")]
    share: Annotated[float, Meta(ge=0, le=1, description="Of all in this answer, by count.", examples=[0.25])]
    recoveredCount: Annotated[
        Count, Meta(description="Payouts paid in the range by another attempt, after one that had failed so.")
    ]


class AnalyticsFailures(_Range):
    """The reasons, the most frequent first."""

    items: list[AnalyticsFailure]


def outcomes_payload(figures: definitions.OutcomeTotals) -> dict[str, Any]:
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


def totals_payload(figures: definitions.PayoutTotals) -> dict[str, Any]:
    """What began and what ended, as it is shown."""
    return outcomes_payload(figures) | {
        "acceptedCount": figures.accepted_count,
        "acceptedAmount": figures.accepted_cents,
        "retriedCount": figures.retried_count,
        "retriedAmount": figures.retried_cents,
        "canceledCount": figures.canceled_count,
        "canceledAmount": figures.canceled_cents,
    }


def driver_outcomes_payload(found: DriverTotals) -> dict[str, Any]:
    """A driver's figures, as they are shown."""
    return {
        "driverId": public_id(DRIVER, found.driver_id),
        "ovnDriverId": found.ovn_driver_id,
        "driverName": found.name,
        **outcomes_payload(found.totals),
    }


def failure_payload(found: FailureReason, count: int) -> dict[str, Any]:
    """A reason, as it is shown, with its share of all that many."""
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
"""The columns of each list as CSV: those of its items."""
