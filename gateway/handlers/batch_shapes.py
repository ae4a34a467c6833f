"""Request and response shapes of batches and scheduled payouts."""

import enum
from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.handlers.bulk_shapes import BulkResult
from gateway.handlers.common_shapes import BatchId, BatchName, Count, FutureTime, Time
from gateway.handlers.payout_shapes import Payout, PayoutWarning, Urgency
from gateway.http.query_parameters import Format, PageQuery, ShortPageQuery
from shared.batches import queries
from shared.schema.payouts import BatchStatus, PayoutStatus, Rail

BATCH_PAYOUTS_MAX: Final = 10_000


class CreateBatch(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /batches`. Without `scheduledFor` the batch waits for a release."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200, examples=["Weekly Payouts - 2026-01-31"])]
    payouts: Annotated[
        list[Any],
        msgspec.Meta(
            min_length=1,
            max_length=BATCH_PAYOUTS_MAX,
            extra_json_schema={"items": {"$ref": "#/components/schemas/BulkPayout"}},
        ),
    ]
    urgency: Urgency = Urgency.STANDARD
    scheduledFor: FutureTime | None = None
    refuseDuplicates: Annotated[
        bool,
        msgspec.Meta(
            description="Reject a second payout for a driver's load, regardless of the wallet's policy; an item's own "
            "`allowDuplicate` wins."
        ),
    ] = False


class ListBatches(ShortPageQuery, kw_only=True):
    status: BatchStatus | UnsetType = UNSET


class ListBatchPayouts(PageQuery, kw_only=True):
    pageSize: Annotated[int, msgspec.Meta(ge=1, le=queries.BATCH_PAYOUTS_SHOWN_MAX, description="Per page.")] = 100
    status: PayoutStatus | UnsetType = UNSET
    format: Format = Format.JSON


class ScheduledStatus(enum.StrEnum):
    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"


class ListScheduled(ShortPageQuery, kw_only=True):
    status: ScheduledStatus | UnsetType = UNSET


class RescheduleBatch(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /batches/:id/reschedule`; null removes the time."""

    scheduledFor: FutureTime | None


class BatchFailure(TypedDict):
    """Why a batch could not be released."""

    code: Annotated[str, Meta(examples=["INSUFFICIENT_FUNDS"])]
    message: str


class Batch(TypedDict):
    """A batch of payouts."""

    id: BatchId
    name: BatchName
    urgency: Rail
    payoutCount: Count
    totalAmount: Annotated[int, Meta(examples=[135000])]
    totalFees: Annotated[int, Meta(examples=[675])]
    netAmount: Annotated[int, Meta(examples=[134325])]
    status: BatchStatus
    scheduledFor: Time | None
    createdAt: Time
    releasedAt: Time | None
    completedAt: Time | None
    canceledAt: NotRequired[Time]
    failure: NotRequired[BatchFailure]
    warnings: NotRequired[list[PayoutWarning]]


class BatchDetails(Batch):
    """A batch with its payouts, in the order of the request."""

    payouts: list[Payout]
    payoutsTruncated: Annotated[bool, Meta(description="Whether the batch has more payouts.")]
    countsByStatus: dict[str, int]
    amountsByStatus: Annotated[
        dict[str, int], Meta(description="The total amount of the payouts in each status, in cents.")
    ]


class BatchQuote(TypedDict):
    """The totals of a batch. If `availableAfter` is negative, its release would be rejected now."""

    payoutCount: Count
    totalAmount: Annotated[int, Meta(examples=[135000])]
    totalFees: Annotated[int, Meta(examples=[675])]
    netAmount: Annotated[int, Meta(examples=[134325])]
    available: Annotated[int, Meta(examples=[5000000])]
    availableAfter: Annotated[int, Meta(examples=[4865000])]
    warnings: NotRequired[list[PayoutWarning]]


class CanceledBatch(TypedDict):
    """A canceled batch."""

    id: BatchId
    status: Literal["canceled"]
    canceledAt: Time | None


class RetriedBatch(TypedDict):
    """The result of retrying a batch's failed payouts."""

    id: BatchId
    status: BatchStatus
    retried: Count
    refused: Count
    results: list[BulkResult]


class ReleasedBatch(TypedDict):
    """A released batch."""

    id: BatchId
    status: BatchStatus
    releasedAt: Time | None
    processedAt: Time | None


class ScheduledStats(TypedDict):
    """The number of scheduled batches."""

    total: Count
    byStatus: Annotated[
        dict[str, int], Meta(examples=[{"queued": 45, "processing": 12, "completed": 87, "failed": 12}])
    ]
    upcomingTotal: Annotated[
        int, Meta(description="The total amount of the waiting batches, in cents.", examples=[892500])
    ]
    nextScheduled: Time | None
