"""Request and response shapes of API keys."""

from typing import Annotated, Literal, TypedDict

import msgspec
from msgspec import UNSET, Meta, UnsetType

from gateway.handlers.common_shapes import Count, Email, KeyId, Time
from gateway.http.query_parameters import ShortPageQuery
from shared.identity.api_keys import SCOPES
from shared.schema.organizations import ApprovalStatus, Mode

Reason = Annotated[str, msgspec.Meta(min_length=1, max_length=500)]
Scope = Literal[
    "drivers:read",
    "drivers:write",
    "payouts:read",
    "payouts:write",
    "batches:read",
    "batches:write",
    "balance:read",
    "webhooks:manage",
    "funding:write",
    "analytics:read",
]


class CreateKey(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /developer/keys`."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100, examples=["My Integration Key"])]
    mode: Mode
    scopes: Annotated[
        list[Scope], msgspec.Meta(min_length=1, max_length=len(SCOPES), extra_json_schema={"uniqueItems": True})
    ]
    expires_in: Annotated[int, msgspec.Meta(ge=1, le=3650, description="Days.", examples=[90])] | None = None
    approval_reason: Annotated[Reason, msgspec.Meta(description="Required for production keys.")] | None = None


class RejectKey(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /admin/api-keys/:id/reject`."""

    reason: Annotated[Reason, msgspec.Meta(examples=["Insufficient justification for production access"])]


class RegenerateKey(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /developer/keys/:id/regenerate`."""

    grace_period_hours: Annotated[
        int, msgspec.Meta(ge=0, le=168, description="How long the old key keeps working.")
    ] = 0


class ListKeys(ShortPageQuery, kw_only=True):
    mode: Mode | UnsetType = UNSET
    status: ApprovalStatus | UnsetType = UNSET


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
    """A new API key, shown only once; null while it waits for approval."""

    key: Annotated[str, Meta(examples=["ovnp_sbox_…"])] | None
    note: Annotated[str, Meta(examples=["Save this key now. It will not be shown again."])]


class ApiKeys(TypedDict):
    """All API keys."""

    keys: list[ApiKey]
    total: Count
    has_next_page: Literal[False]


class Scopes(TypedDict):
    """The scopes of API keys, with descriptions."""

    scopes: Annotated[list[str], Meta(examples=[["drivers:read", "payouts:read", "payouts:write"]])]
    descriptions: dict[str, str]


class RejectedKey(TypedDict):
    """A rejected production key."""

    id: KeyId
    approval_status: Literal["rejected"]
    rejected_at: Time
