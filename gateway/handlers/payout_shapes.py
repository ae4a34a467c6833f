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
    bool, msgspec.Meta(description="Pay the driver for this load again; needs a duplicateReason.")
]
DuplicateReason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class Urgency(enum.StrEnum):
    """How fast; names the rail (conventions: Urgency and rail)."""

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
    """What to quote."""

    amount: Annotated[
        int, msgspec.Meta(ge=1, le=RAIL_LIMIT_CENTS[Rail.INSTANT], description="US cents.", examples=[50000])
    ]


class PayoutFields(Protocol):
    """What every way of asking for a payout names."""

    driverId: str
    amount: int
    description: str | None
    loadId: str | None
    allowDuplicate: bool
    duplicateReason: str | None


class ListPayouts(PageQuery, kw_only=True):
    """Which payouts."""

    status: PayoutStatus | UnsetType = UNSET
    driverId: Annotated[str, msgspec.Meta(max_length=100)] | UnsetType = UNSET
    idempotencyKey: (
        Annotated[
            str,
            msgspec.Meta(
                min_length=1,
                max_length=idempotency.KEY_LENGTH_MAX,
                description="Only what a POST with this Idempotency-Key has made, within 48 hours: did it go through?",
            ),
        ]
        | UnsetType
    ) = UNSET


class Failure(TypedDict):
    """Why a payout failed or came back."""

    code: Annotated[str, Meta(examples=["BANK_REJECTED"])]
    message: Annotated[str, Meta(examples=["Account closed"])] | None
    retryable: bool


class PayoutWarning(TypedDict):
    """A warning: the request was carried out all the same."""

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
    """What an instant payout of this amount is charged."""

    amount: Annotated[int, Meta(examples=[50000])]
    fee: Annotated[int, Meta(examples=[250])]
    feePercent: Annotated[float, Meta(examples=[0.5])]
    total: Annotated[int, Meta(examples=[50250])]
    estimatedDeposit: Annotated[int, Meta(examples=[49750])]


class CanceledPayout(TypedDict):
    """A payout that was canceled."""

    id: PayoutId
    status: Literal["canceled"]
    canceledAt: Time
    amount: Cents


class RetriedPayout(TypedDict):
    """A payout in another attempt."""

    id: PayoutId
    status: Literal["queued"]
    retriedAt: Time
    attempt: Annotated[int, Meta(ge=2, examples=[2])]
    warnings: NotRequired[list[PayoutWarning]]


class TimelineEvent(TypedDict):
    """One thing that happened to a payout."""

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
    details: Annotated[dict[str, Any], Meta(description="By kind: ids, amounts in cents, codes.")]


class EstimatedArrival(TypedDict):
    """When the driver has the money, by the rail; business days are Monday to Friday, holidays come on top."""

    speed: Annotated[str, Meta(examples=["2-4 business days"])]
    by: Time


class ExpectedStep(TypedDict):
    """What is expected next of a payout."""

    kind: Annotated[
        Literal["batch_release", "queueing", "submission", "provider_webhook", "return", "customer", "person"],
        Meta(examples=["submission"]),
    ]
    expected: Annotated[str, Meta(description="One sentence.", examples=["It is submitted to Paystream"])]
    by: Annotated[Time, Meta(description="At the latest, or until when; null: nobody knows.")] | None
    estimatedArrival: EstimatedArrival | None


class Timeline(TypedDict):
    """What happened to a payout, oldest first, in all attempts, and what is expected next."""

    payoutId: PayoutId
    status: PayoutStatus
    events: list[TimelineEvent]
    truncated: Annotated[bool, Meta(description="Whether there are older events than are shown here.")]
    next: ExpectedStep | None
