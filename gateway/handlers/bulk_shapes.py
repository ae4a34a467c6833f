"""Request and response shapes of bulk operations."""

from typing import Annotated, Any, Final, Literal, NotRequired, TypedDict

import msgspec

from gateway.handlers.common_shapes import AmountCents, Count, Description
from gateway.handlers.payout_shapes import AllowDuplicate, DriverReference, DuplicateReason, LoadReference, Urgency

BULK_ITEMS_MAX: Final = 100


def list_of_items(name: str) -> msgspec.Meta:
    """A list whose items are validated one by one, by the schema `name`."""
    return msgspec.Meta(
        min_length=1,
        max_length=BULK_ITEMS_MAX,
        description="An invalid item gets its own error and does not affect the others.",
        extra_json_schema={"items": {"anyOf": [{"$ref": f"#/components/schemas/{name}"}, {}]}},
    )


class BulkPayout(msgspec.Struct, forbid_unknown_fields=True):
    """A payout of a bulk request or a batch."""

    driverId: DriverReference
    amount: AmountCents
    description: Description | None = None
    loadId: LoadReference | None = None
    allowDuplicate: AllowDuplicate = False
    duplicateReason: DuplicateReason | None = None


class BulkDrivers(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /drivers/bulk`; each item is a body of `POST /drivers`."""

    drivers: Annotated[list[Any], list_of_items("RegisterDriver")]


class BulkPayouts(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /payouts/bulk`; `urgency` applies to all items."""

    payouts: Annotated[list[Any], list_of_items("BulkPayout")]
    urgency: Urgency = Urgency.STANDARD


class BulkIds(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /payouts/bulk/cancel` and `…/retry`."""

    payoutIds: Annotated[list[str], msgspec.Meta(min_length=1, max_length=BULK_ITEMS_MAX)]


class BulkResult(TypedDict):
    """The result of an item."""

    index: Count
    item: dict[str, Any]
    status: Literal["success", "error"]
    error: NotRequired[str]
    code: NotRequired[str]
    details: NotRequired[dict[str, Any]]


class BulkResults(TypedDict):
    """The result of each item, in the order of the request."""

    succeeded: Count
    failed: Count
    total: Count
    results: list[BulkResult]
