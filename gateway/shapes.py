"""The shapes of answers, as the OpenAPI document shows them; the tests hold every answer against it.

Answers may have more fields than a shape names; a field that a shape names is there, or `NotRequired`.
"""

from typing import Annotated, Any, Generic, Literal, NotRequired, TypedDict, TypeVar

from msgspec import Meta

from shared.schema.audit import Action, ActorKind
from shared.schema.organizations import ApprovalStatus, DriverStatus, KycStatus, Mode, Role
from shared.schema.payouts import BatchStatus, PayoutStatus, Rail

Item = TypeVar("Item")

_SUFFIX = "[0-7][0-9a-hjkmnp-tv-z]{25}$"

Time = Annotated[
    str,
    Meta(
        description="RFC 3339, UTC.",
        examples=["2026-01-31T12:00:00Z"],
        pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$",
    ),
]
Cents = Annotated[int, Meta(description="US cents.", examples=[45000], ge=0)]
Count = Annotated[int, Meta(ge=0, examples=[3])]
DriverId = Annotated[str, Meta(examples=["drv_01kg9r4e80fcq8h8j9v4z2m7xd"], pattern=f"^drv_{_SUFFIX}")]
PayoutId = Annotated[str, Meta(examples=["pay_01kg9r4e81ey1t5m0q6c3w8nab"], pattern=f"^pay_{_SUFFIX}")]
BatchId = Annotated[str, Meta(examples=["batch_01kg9r4e82f7k9p2r4t6v8xbcd"], pattern=f"^batch_{_SUFFIX}")]
TransactionId = Annotated[str, Meta(examples=["txn_01kg9r4e83ghj2k3m4n5p6q7rs"], pattern=f"^txn_{_SUFFIX}")]
KeyId = Annotated[str, Meta(examples=["key_01kg9r4e84t5v6w7x8y9z0abcd"], pattern=f"^key_{_SUFFIX}")]
AuditId = Annotated[str, Meta(examples=["aud_01kg9r4e86fghj2k3m4n5p6qrs"], pattern=f"^aud_{_SUFFIX}")]
LogId = Annotated[str, Meta(examples=["log_01kg9r4e85efghj2k3m4n5p6qr"], pattern=f"^log_{_SUFFIX}")]
WebhookId = Annotated[str, Meta(examples=["whe_01kg9r4e87ghj2k3m4n5p6qrst"], pattern=f"^whe_{_SUFFIX}")]
EventId = Annotated[str, Meta(examples=["evt_01kg9r4e88hj2k3m4n5p6qrstv"], pattern=f"^evt_{_SUFFIX}")]
DriverName = Annotated[str, Meta(examples=["John Smith"])]
OvnDriverId = Annotated[str, Meta(examples=["OVN-DRIVER-789"])]
LoadId = Annotated[str, Meta(examples=["L-12345"])]
BatchName = Annotated[str, Meta(examples=["Weekly Payouts - 2026-01-31"])]
Email = Annotated[str, Meta(examples=["john@example.com"])]


class ListPage(TypedDict, Generic[Item]):
    """A part of a list, newest first."""

    items: list[Item]
    total: Annotated[int, Meta(ge=0, description="How many there are in all.", examples=[142])]
    page: Annotated[int, Meta(ge=1, examples=[1])] | None
    """Null where a cursor was given."""
    pageSize: Annotated[int, Meta(ge=1, le=100, examples=[50])]
    hasNextPage: bool
    nextCursor: Annotated[str, Meta(description="Where to go on; null at the end.")] | None


class HealthStatus(TypedDict):
    """Whether the gateway can serve."""

    status: Literal["healthy"]
    version: Annotated[str, Meta(examples=["1.0.0"])]
    timestamp: Time
    outgoing: NotRequired[Literal["reconcile-only"]]


class Driver(TypedDict):
    """A driver."""

    id: DriverId
    ovnDriverId: OvnDriverId
    name: DriverName
    email: Email
    phone: Annotated[str, Meta(examples=["+15551234567"])] | None
    status: DriverStatus
    kycStatus: KycStatus
    totalPaid: Annotated[int, Meta(description="Net amounts of completed payouts, in cents.", examples=[125000])]
    pendingPayouts: Annotated[int, Meta(description="Payouts that have not ended.", examples=[0])]
    bankAccountLast4: Annotated[str, Meta(examples=["6789"])] | None
    createdAt: Time
    registrationError: NotRequired[str]


class DeletedDriver(TypedDict):
    """A driver that was deleted."""

    id: DriverId
    status: Literal["inactive"]
    deletedAt: Time


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
    expected: Annotated[str, Meta(description="One sentence.", examples=["It goes to Paystream"])]
    by: Annotated[Time, Meta(description="At the latest, or until when; null: nobody knows.")] | None
    estimatedArrival: EstimatedArrival | None


class Timeline(TypedDict):
    """What happened to a payout, oldest first, in all attempts, and what is expected next."""

    payoutId: PayoutId
    status: PayoutStatus
    events: list[TimelineEvent]
    truncated: Annotated[bool, Meta(description="Whether there are older events than are shown here.")]
    next: ExpectedStep | None


class BulkResult(TypedDict):
    """What became of one item."""

    index: Count
    item: dict[str, Any]
    status: Literal["success", "error"]
    error: NotRequired[str]
    code: NotRequired[str]
    details: NotRequired[dict[str, Any]]


class BulkResults(TypedDict):
    """What became of each item, in the order of the request."""

    succeeded: Count
    failed: Count
    total: Count
    results: list[BulkResult]


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
    """A batch with its payouts, in the order in which they were handed in."""

    payouts: list[Payout]
    payoutsTruncated: Annotated[bool, Meta(description="Whether there are more payouts than are shown here.")]
    countsByStatus: dict[str, int]
    amountsByStatus: Annotated[
        dict[str, int], Meta(description="What its payouts in each status cost the wallet, in cents.")
    ]


class BatchQuote(TypedDict):
    """What a batch would come to; `availableAfter` below zero: its release would be refused now."""

    payoutCount: Count
    totalAmount: Annotated[int, Meta(examples=[135000])]
    totalFees: Annotated[int, Meta(examples=[675])]
    netAmount: Annotated[int, Meta(examples=[134325])]
    available: Annotated[int, Meta(examples=[5000000])]
    availableAfter: Annotated[int, Meta(examples=[4865000])]
    warnings: NotRequired[list[PayoutWarning]]


class CanceledBatch(TypedDict):
    """A batch that was called off."""

    id: BatchId
    status: Literal["canceled"]
    canceledAt: Time | None


class RetriedBatch(TypedDict):
    """What trying a batch's failed payouts again did."""

    id: BatchId
    status: BatchStatus
    retried: Count
    refused: Count
    results: list[BulkResult]


class ReleasedBatch(TypedDict):
    """A batch that was released."""

    id: BatchId
    status: BatchStatus
    releasedAt: Time | None
    processedAt: Time | None


class ScheduledStats(TypedDict):
    """Scheduled batches, counted."""

    total: Count
    byStatus: Annotated[
        dict[str, int], Meta(examples=[{"queued": 45, "processing": 12, "completed": 87, "failed": 12}])
    ]
    upcomingTotal: Annotated[int, Meta(description="What those that wait will cost, in cents.", examples=[892500])]
    nextScheduled: Time | None


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


class DatedListPage(ListPage[Item], Generic[Item]):
    """A part of a list, newest first; `total` is counted to 100,000 where `from` or `to` is given."""

    totalIsMinimum: NotRequired[bool]


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


class Message(TypedDict):
    """A sentence."""

    message: str


class WebhookLog(TypedDict):
    """A webhook of Paystream's about one of the wallet's payouts."""

    id: LogId
    event: Annotated[str, Meta(examples=["payout.completed"])]
    payload: dict[str, Any]
    receivedAt: Time
    processedAt: Time | None
    status: Literal["pending", "success", "error"]
    verified: Annotated[bool, Meta(description="Whether its signature was right; nothing else is taken.")]
    outcome: Annotated[str, Meta(description="What it did, in a few words.")] | None
    payoutId: PayoutId | None


class CappedListPage(ListPage[Item], Generic[Item]):
    """A part of a long list, newest first; `total` is counted to 10,000."""

    totalIsMinimum: bool


class User(TypedDict):
    """Who is signed in."""

    email: Email
    role: Role
    organization: Annotated[str, Meta(examples=["Demo Carrier"])]


class SessionStarted(TypedDict):
    """A session; the token is shown once."""

    token: Annotated[str, Meta(examples=["ovnp_sess_…"])]
    expiresAt: Time
    user: User


class ApiKey(TypedDict):
    """An API key; the key itself is never shown again."""

    id: KeyId
    name: Annotated[str, Meta(examples=["Development Key"])]
    mode: Mode
    prefix: Annotated[str, Meta(examples=["ovnp_sbox_"])]
    scopes: Annotated[list[str], Meta(examples=[["drivers:read", "payouts:read"]])]
    created_by: Email
    approval_status: ApprovalStatus
    approval_reason: str | None
    approved_by: str | None
    approved_at: Time | None
    rejected_at: Time | None
    rejection_reason: str | None
    created_at: Time
    expires_at: Time | None
    last_used_at: Time | None
    revoked_at: Time | None
    is_usable: bool


class NewApiKey(ApiKey):
    """An API key just made: the only time that it is shown; null while it waits for approval."""

    key: Annotated[str, Meta(examples=["ovnp_sbox_…"])] | None
    note: Annotated[str, Meta(examples=["Save this key now. It will not be shown again."])]


class ApiKeys(TypedDict):
    """API keys, all of them."""

    keys: list[ApiKey]
    total: Count
    has_next_page: Literal[False]


class Scopes(TypedDict):
    """What a key can be allowed, and what each is for."""

    scopes: Annotated[list[str], Meta(examples=[["drivers:read", "payouts:read", "payouts:write"]])]
    descriptions: dict[str, str]


class RejectedKey(TypedDict):
    """A production key that was turned down."""

    id: KeyId
    approval_status: Literal["rejected"]
    rejected_at: Time


class AuditEntry(TypedDict):
    """Something done: by whom, from where, by which request, to which object, and what changed."""

    id: AuditId
    at: Time
    action: Action
    actor_kind: ActorKind
    user: Annotated[str, Meta(description="The user's email.", examples=["owner@demo-carrier.example"])] | None
    key_id: KeyId | None
    address: Annotated[str, Meta(examples=["203.0.113.7"])] | None
    request_id: Annotated[str, Meta(examples=["0b9c5c6e-8d0f-4a43-9a7b-2f1f6f3a9e11"])] | None
    mode: Mode | None
    object_kind: Annotated[str, Meta(examples=["payout"])]
    object_id: Annotated[str, Meta(examples=["pay_01kg9r4e81ey1t5m0q6c3w8nab"])] | None
    before: Annotated[dict[str, Any], Meta(examples=[{"status": "queued"}])] | None
    after: Annotated[dict[str, Any], Meta(examples=[{"status": "canceled"}])] | None


class SandboxState(TypedDict):
    """What is in the sandbox: the newest 100 of each, and how many there are."""

    drivers: list[Driver]
    payouts: list[Payout]
    balance: Annotated[int, Meta(description="Available, in cents.", examples=[1000000])]
    driverCount: Count
    payoutCount: Count


class SeededCounts(TypedDict):
    """How many of the seed are there now."""

    drivers: Annotated[int, Meta(examples=[5])]
    payouts: Annotated[int, Meta(examples=[10])]


class SandboxSeeded(TypedDict):
    """The sandbox has its test data."""

    message: str
    data: SeededCounts
