"""Request and response shapes of funding."""

import enum
from typing import Annotated, Literal, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.handlers.common_shapes import AmountCents, Count, Description, PayoutId, Time, TransactionId
from gateway.http.query_parameters import DayOrTime, Format, PageQuery
from shared.ledger import statement


class TopupMethod(enum.StrEnum):
    """How the money comes: `bank_transfer` takes days, `rtp` seconds."""

    BANK_TRANSFER = "bank_transfer"
    RTP = "rtp"


class CreateTopup(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /funding/topup`."""

    amount: AmountCents
    description: Description = "Wallet funding"
    method: TopupMethod = TopupMethod.BANK_TRANSFER


class ListTransactions(PageQuery, kw_only=True):
    """Which lines of the statement."""

    type: statement.StatementLineType | UnsetType = UNSET
    since: DayOrTime | UnsetType = msgspec.field(name="from", default=UNSET)
    until: DayOrTime | UnsetType = msgspec.field(name="to", default=UNSET)
    format: Format = Format.JSON


class ProjectionQuery(msgspec.Struct, forbid_unknown_fields=True):
    """How far to look."""

    days: Annotated[int, msgspec.Meta(ge=1, le=366, description="Days to look ahead, today included.")] = 30


class Transaction(TypedDict):
    """A line of the wallet's statement; `balance` is what was available after it."""

    id: TransactionId
    type: Literal["credit", "debit", "release", "return"]
    amount: Annotated[int, Meta(examples=[1000000])]
    balance: Annotated[int, Meta(examples=[5000000])]
    description: Annotated[str, Meta(examples=["Wallet funding"])] | None
    payoutId: PayoutId | None
    topupId: TransactionId | None
    createdAt: Time


class DayOutflow(TypedDict):
    """What leaves the wallet on a day (UTC), and what else may arrive then."""

    date: Annotated[str, Meta(examples=["2026-02-08"], pattern=r"^\d{4}-\d\d-\d\d$")]
    outflow: Annotated[int, Meta(examples=[250000])]
    pendingTopups: Annotated[int, Meta(description="Not counted on.", examples=[0], ge=0)]
    settling: Annotated[int, Meta(description="Reaches drivers; left the balance before.", examples=[0], ge=0)]


class CountAndAmount(TypedDict):
    """How many, and how much money in cents."""

    count: Count
    amount: Annotated[int, Meta(examples=[135000], ge=0)]


class Shortfall(TypedDict):
    """The first day on which the money will not reach, and how much is missing then, in cents."""

    date: Annotated[str, Meta(examples=["2026-02-10"])]
    amount: Annotated[int, Meta(examples=[120000])]


class Projection(TypedDict):
    """What scheduled batches will do to the balance."""

    currentBalance: Annotated[int, Meta(examples=[5000000])]
    projectedBalance: Annotated[int, Meta(examples=[3500000])]
    projectedOutflow: Annotated[int, Meta(examples=[1500000])]
    dailyProjection: list[DayOutflow]
    shortfall: Shortfall | None
    openPayouts: Annotated[
        CountAndAmount, Meta(description="In transit: no longer in the balance, not with the driver yet.")
    ]
    pendingTopups: Annotated[CountAndAmount, Meta(description="Topped up, not confirmed by Paystream yet.")]
    unscheduled: Annotated[CountAndAmount, Meta(description="Batches that wait for somebody to release them.")]


class Topup(TypedDict):
    """A top-up; `balance` is available plus pending, this one included."""

    transactionId: TransactionId
    amount: Annotated[int, Meta(examples=[500000])]
    balance: Annotated[int, Meta(examples=[5500000])]
    status: Literal["pending"]
    method: Literal["bank_transfer", "rtp"]
    description: Annotated[str, Meta(examples=["Weekly funding"])]
    createdAt: Time


class Balance(TypedDict):
    """The wallet's money: to spend, on its way in, on its way out."""

    available: Annotated[int, Meta(examples=[5000000])]
    pending: Annotated[int, Meta(examples=[50000])]
    inTransit: Annotated[int, Meta(examples=[25000])]
    currency: Annotated[str, Meta(examples=["USD"])]
