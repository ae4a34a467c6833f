"""Request and response shapes of webhooks, deliveries and events."""

from typing import Annotated, Any, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.handlers.common_shapes import CappedListPage, Count, EventId, Time, WebhookId
from gateway.http.query_parameters import PageQuery
from shared.events.addresses import URL_LENGTH_MAX
from shared.events.customer_events import EventType
from shared.schema.events import DeliveryStatus, EndpointStatus, PausedReason

Url = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=URL_LENGTH_MAX,
        description="An https URL of a public host, without credentials.",
        examples=["https://example.com/webhooks"],
    ),
]
EventTypes = Annotated[
    list[EventType],
    msgspec.Meta(
        min_length=1,
        max_length=len(EventType),
        examples=[["payout.succeeded", "payout.failed"]],
    ),
]


class CreateWebhook(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /webhooks`."""

    url: Url
    events: EventTypes


class UpdateWebhook(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `PUT /webhooks/:id`; fields that are left out stay unchanged."""

    url: Url | None = None
    events: EventTypes | None = None
    status: EndpointStatus | None = None


class RotateSecret(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /webhooks/:id/rotate-secret`."""

    gracePeriodHours: Annotated[
        int, msgspec.Meta(ge=0, le=168, description="How long the old secret is used in addition to the new one.")
    ] = 24


class ListDeliveries(PageQuery, kw_only=True):
    status: DeliveryStatus | UnsetType = UNSET


class Redeliver(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /webhooks/:id/redeliver`."""

    since: Annotated[
        str,
        msgspec.Meta(
            max_length=40,
            description="RFC 3339 with Z or an offset, at most 30 days ago: redeliver events from this time.",
            extra_json_schema={"format": "date-time"},
            examples=["2026-01-31T12:00:00Z"],
        ),
    ]
    failedOnly: Annotated[bool, msgspec.Meta(description="Leave out events that were delivered or never sent.")] = False


class Webhook(TypedDict):
    """A webhook endpoint of the wallet."""

    id: WebhookId
    url: Annotated[str, Meta(examples=["https://example.com/webhooks"])]
    events: list[EventType]
    status: EndpointStatus
    pausedReason: PausedReason | None
    failingSince: Annotated[str, Meta(description="Start of the current failures; null without.")] | None
    previousSecretValidUntil: Annotated[str, Meta(description="Until when both secrets are used.")] | None
    createdAt: Time
    updatedAt: Time


class WebhookWithSecret(Webhook):
    """A webhook with its new secret, shown only once: null in a repeated response."""

    secret: Annotated[str, Meta(examples=["whsec_…"])] | None


class Webhooks(TypedDict):
    """All webhooks of the wallet, newest first."""

    items: list[Webhook]
    total: Count


class DeletedWebhook(TypedDict):
    """A deleted webhook."""

    id: WebhookId
    deletedAt: Time


class Delivery(TypedDict):
    """The delivery of an event to a webhook; its id is the event's."""

    id: EventId
    event: Annotated[str, Meta(examples=["payout.succeeded"])]
    status: DeliveryStatus
    attempts: Count
    httpStatus: Annotated[int, Meta(description="The status of the last attempt's response.", examples=[200])] | None
    error: Annotated[str, Meta(description="Why the last attempt failed.", examples=["answered 500"])] | None
    durationMs: Annotated[int, Meta(ge=0, examples=[120])] | None
    createdAt: Annotated[str, Meta(description="When the event happened.", examples=["2026-01-31T12:00:00Z"])]
    lastAttemptAt: Time | None
    deliveredAt: Time | None
    nextAttemptAt: Time | None


DeliveryPage = CappedListPage[Delivery]


class WebhookTest(TypedDict):
    """A test event to be delivered."""

    id: EventId
    webhookId: WebhookId


class RedeliveryCount(TypedDict):
    """The events to be delivered again."""

    count: Count
    until: Annotated[str, Meta(description="If there are more events: the next request's `since`.")] | None


class Event(TypedDict):
    """An event, as webhooks receive it."""

    id: EventId
    type: Annotated[str, Meta(examples=["payout.succeeded"])]
    apiVersion: Annotated[str, Meta(examples=["2026-02-01"])]
    createdAt: Time
    sequence: Annotated[int, Meta(ge=0, description="Orders the events of one payout.", examples=[4])]
    data: dict[str, Any]


class EventPage(TypedDict):
    """Events in the order of their ids, oldest first."""

    items: list[Event]
    after: Annotated[str, Meta(description="The next request's `after`.")]
