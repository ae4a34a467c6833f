"""Request and response shapes of funding."""

import enum
from typing import Annotated, Literal, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.handlers.common_shapes import AmountCents, Count, Description, PayoutId, Time, TransactionId
from gateway.http.query_parameters import DayOrTime, Format, PageQuery
from shared.ledger import statement


class TopupMethod(enum.StrEnum):
    """How a top-up is transferred: `bank_transfer` takes days, `rtp` seconds."""

    BANK_TRANSFER = "bank_transfer"
    RTP = "rtp"


class CreateTopup(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /funding/topup`."""

    amount: AmountCents
    description: Description = "Wallet funding"
    method: TopupMethod = TopupMethod.BANK_TRANSFER


class ListTransactions(PageQuery, kw_only=True):
    type: statement.StatementLineType | UnsetType = UNSET
    since: DayOrTime | UnsetType = msgspec.field(name="from", default=UNSET)
    until: DayOrTime | UnsetType = msgspec.field(name="to", default=UNSET)
    format: Format = Format.JSON


class ProjectionQuery(msgspec.Struct, forbid_unknown_fields=True):
    """The range of the projection."""

    days: Annotated[int, msgspec.Meta(ge=1, le=366, description="Days to look ahead, today included.")] = 30


class Transaction(TypedDict):
    """An entry of the wallet's statement; `balance` is the available balance after it."""

    id: TransactionId
    type: Literal["credit", "debit", "release", "return"]
    amount: Annotated[int, Meta(examples=[1000000])]
    balance: Annotated[int, Meta(examples=[5000000])]
    description: Annotated[str, Meta(examples=["Wallet funding"])] | None
    payoutId: PayoutId | None
    topupId: TransactionId | None
    createdAt: Time


class DayOutflow(TypedDict):
    """The money that leaves the wallet on a day (UTC), and top-ups that can arrive on it."""

    date: Annotated[str, Meta(examples=["2026-02-08"], pattern=r"^\d{4}-\d\d-\d\d$")]
    outflow: Annotated[int, Meta(examples=[250000])]
    pendingTopups: Annotated[int, Meta(description="Not included in the projected balance.", examples=[0], ge=0)]
    settling: Annotated[
        int, Meta(description="Reaches drivers on this day; left the balance earlier.", examples=[0], ge=0)
    ]


class CountAndAmount(TypedDict):
    """A number and its total amount, in cents."""

    count: Count
    amount: Annotated[int, Meta(examples=[135000], ge=0)]


class Shortfall(TypedDict):
    """The first day with a negative projected balance, and the missing amount, in cents."""

    date: Annotated[str, Meta(examples=["2026-02-10"])]
    amount: Annotated[int, Meta(examples=[120000])]


class Projection(TypedDict):
    """The balance after the scheduled batches."""

    currentBalance: Annotated[int, Meta(examples=[5000000])]
    projectedBalance: Annotated[int, Meta(examples=[3500000])]
    projectedOutflow: Annotated[int, Meta(examples=[1500000])]
    dailyProjection: list[DayOutflow]
    shortfall: Shortfall | None
    openPayouts: Annotated[CountAndAmount, Meta(description="In transit: no longer in the balance, not yet received.")]
    pendingTopups: Annotated[CountAndAmount, Meta(description="Not yet confirmed by Paystream.")]
    unscheduled: Annotated[CountAndAmount, Meta(description="Batches that wait for a release.")]


class Topup(TypedDict):
    """A top-up; `balance` is available plus pending, including this top-up."""

    transactionId: TransactionId
    amount: Annotated[int, Meta(examples=[500000])]
    balance: Annotated[int, Meta(examples=[5500000])]
    status: Literal["pending"]
    method: Literal["bank_transfer", "rtp"]
    description: Annotated[str, Meta(examples=["Weekly funding"])]
    createdAt: Time


class Balance(TypedDict):
    """The wallet's balance: available, incoming, outgoing."""

    available: Annotated[int, Meta(examples=[5000000])]
    pending: Annotated[int, Meta(examples=[50000])]
    inTransit: Annotated[int, Meta(examples=[25000])]
    currency: Annotated[str, Meta(examples=["USD"])]
