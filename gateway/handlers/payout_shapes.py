"""Request and response shapes of payouts."""

import enum
from typing import Annotated, Any, Literal, NotRequired, Protocol, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.handlers.common_shapes import (
    AmountCents,
    BatchId,
    Cents,
    Count,
    Description,
    DriverId,
    DriverName,
    LoadId,
    PayoutId,
    Reference,
    Time,
)
from gateway.http.query_parameters import PageQuery
from shared.payouts.rails import RAIL_LIMIT_CENTS
from shared.platform import idempotency
from shared.schema.payouts import PayoutStatus, Rail

DriverReference = Annotated[
    str,
    msgspec.Meta(
        min_length=1, max_length=100, description="The driver's id.", examples=["drv_01kg9r4e80fcq8h8j9v4z2m7xd"]
    ),
]
LoadReference = Annotated[Reference, msgspec.Meta(description="Your id of the load.", examples=["L-12345"])]
AllowDuplicate = Annotated[
    bool, msgspec.Meta(description="Pay the driver for this load again; requires `duplicateReason`.")
]
DuplicateReason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Urgency(enum.StrEnum):
    """The requested speed: the name of the rail in `shared.schema.payouts.Rail`."""

    STANDARD = "standard"
    SAME_DAY = "same_day"
    INSTANT = "instant"


class CreatePayout(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /payouts`."""

    driverId: DriverReference
    amount: AmountCents
    urgency: Urgency = Urgency.STANDARD
    description: Description | None = None
    loadId: LoadReference | None = None
    allowDuplicate: AllowDuplicate = False
    duplicateReason: DuplicateReason | None = None


class CreateInstantPayout(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /payouts/instant`."""

    driverId: DriverReference
    amount: AmountCents
    requestedBy: Reference | None = None
    description: Description | None = None
    loadId: LoadReference | None = None
    allowDuplicate: AllowDuplicate = False
    duplicateReason: DuplicateReason | None = None


class InstantFeeQuery(msgspec.Struct, forbid_unknown_fields=True):
    amount: Annotated[
        int, msgspec.Meta(ge=1, le=RAIL_LIMIT_CENTS[Rail.INSTANT], description="US cents.", examples=[50000])
    ]


class PayoutFields(Protocol):
    """The fields common to all requests that create a payout."""

    driverId: str
    amount: int
    description: str | None
    loadId: str | None
    allowDuplicate: bool
    duplicateReason: str | None


class ListPayouts(PageQuery, kw_only=True):
    status: PayoutStatus | UnsetType = UNSET
    driverId: Annotated[str, msgspec.Meta(max_length=100)] | UnsetType = UNSET
    idempotencyKey: (
        Annotated[
            str,
            msgspec.Meta(
                min_length=1,
                max_length=idempotency.KEY_LENGTH_MAX,
                description="Only what a POST with this Idempotency-Key created within the last 48 hours.",
            ),
        ]
        | UnsetType
    ) = UNSET


class Failure(TypedDict):
    """Why a payout failed or was returned."""

    code: Annotated[str, Meta(examples=["BANK_REJECTED"])]
    message: Annotated[str, Meta(examples=["Account closed"])] | None
    retryable: bool


class PayoutWarning(TypedDict):
    """A warning; the request was executed."""

    code: Literal["DUPLICATE_LOAD"]
    message: str
    payoutId: PayoutId
    index: NotRequired[Count]


class Payout(TypedDict):
    """A payout: `amount` leaves the wallet, `netAmount` reaches the driver, `fee` is the difference."""

    id: PayoutId
    loadId: LoadId | None
    driverId: DriverId
    driverName: DriverName
    amount: Cents
    fee: Annotated[int, Meta(ge=0, examples=[250])]
    netAmount: Annotated[int, Meta(ge=0, examples=[44750])]
    status: PayoutStatus
    rail: Rail
    description: Annotated[str, Meta(examples=["Payment for load #L-12345"])] | None
    batchId: BatchId | None
    attempt: Annotated[int, Meta(ge=1, examples=[1])]
    requestedAt: Time
    completedAt: Time | None
    canceledAt: NotRequired[Time]
    failure: NotRequired[Failure]
    warnings: NotRequired[list[PayoutWarning]]


class InstantPayout(Payout):
    """An instant payout."""

    requestedBy: Annotated[str, Meta(examples=["driver-789"])] | None
    estimatedSettlement: Annotated[str, Meta(examples=["~30 seconds"])]


class InstantFee(TypedDict):
    """The fee of an instant payout."""

    amount: Annotated[int, Meta(examples=[50000])]
    fee: Annotated[int, Meta(examples=[250])]
    feePercent: Annotated[float, Meta(examples=[0.5])]
    total: Annotated[int, Meta(examples=[50250])]
    estimatedDeposit: Annotated[int, Meta(examples=[49750])]


class CanceledPayout(TypedDict):
    """A canceled payout."""

    id: PayoutId
    status: Literal["canceled"]
    canceledAt: Time
    amount: Cents


class RetriedPayout(TypedDict):
    """A payout queued for another attempt."""

    id: PayoutId
    status: Literal["queued"]
    retriedAt: Time
    attempt: Annotated[int, Meta(ge=2, examples=[2])]
    warnings: NotRequired[list[PayoutWarning]]


class TimelineEvent(TypedDict):
    """An entry of a payout's timeline."""

    at: Time
    kind: Annotated[
        Literal[
            "transition",
            "submission",
            "provider_answer",
            "provider_webhook",
            "customer_event",
            "transfer",
            "poll",
            "batch",
            "warning",
            "hold",
        ],
        Meta(examples=["transition"]),
    ]
    title: Annotated[str, Meta(description="One sentence.", examples=["Accepted: $450.00 to John Smith"])]
    details: Annotated[dict[str, Any], Meta(description="Depends on `kind`: ids, amounts in cents, codes.")]


class EstimatedArrival(TypedDict):
    """When the driver receives the money. Business days are Monday to Friday; holidays are not considered."""

    speed: Annotated[str, Meta(examples=["2-4 business days"])]
    by: Time


class ExpectedStep(TypedDict):
    """The expected next step of a payout."""

    kind: Annotated[
        Literal["batch_release", "queueing", "submission", "provider_webhook", "return", "customer", "person"],
        Meta(examples=["submission"]),
    ]
    expected: Annotated[str, Meta(description="One sentence.", examples=["It is submitted to Paystream"])]
    by: Annotated[Time, Meta(description="The deadline; null if there is none.")] | None
    estimatedArrival: EstimatedArrival | None


class Timeline(TypedDict):
    """The history of a payout in all attempts, oldest first, and its expected next step."""

    payoutId: PayoutId
    status: PayoutStatus
    events: list[TimelineEvent]
    truncated: Annotated[bool, Meta(description="Whether older events are left out.")]
    next: ExpectedStep | None
