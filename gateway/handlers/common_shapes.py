"""Field types and lists shared by the shapes of several resources."""

from typing import Annotated, Generic, NotRequired, TypedDict, TypeVar

import msgspec
from msgspec import Meta

AMOUNT_CENTS_MAX = 1_000_000_000_000
AmountCents = Annotated[int, msgspec.Meta(gt=0, le=AMOUNT_CENTS_MAX, description="US cents.", examples=[45000])]
FutureTime = Annotated[
    str,
    msgspec.Meta(
        max_length=40,
        description="RFC 3339 with Z or an offset, in the future, at most a year ahead.",
        extra_json_schema={"format": "date-time"},
    ),
]
Reference = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Description = Annotated[str, msgspec.Meta(max_length=500, examples=["Payment for load #L-12345"])]
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
    """A page of a list, newest first."""

    items: list[Item]
    total: Annotated[int, Meta(ge=0, description="The number of items in the whole list.", examples=[142])]
    page: Annotated[int, Meta(ge=1, examples=[1])] | None
    """Null for a request with a cursor."""
    pageSize: Annotated[int, Meta(ge=1, le=100, examples=[50])]
    hasNextPage: bool
    nextCursor: Annotated[str, Meta(description="The next request's `cursor`; null at the end.")] | None


class DatedListPage(ListPage[Item], Generic[Item]):
    """A page of a list, newest first; with `from` or `to`, `total` is counted up to 100,000."""

    totalIsMinimum: NotRequired[bool]


class CappedListPage(ListPage[Item], Generic[Item]):
    """A page of a long list, newest first; `total` is counted up to 10,000."""

    totalIsMinimum: bool


class Message(TypedDict):
    """A confirmation."""

    message: str
