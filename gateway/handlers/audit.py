"""The handler of the audit log. Its JSON is snake_case, like that of all admin endpoints."""

import uuid
from typing import Annotated, Any, Final, TypedDict

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from gateway.app_state import SERVICES, SIGNED_IN_USER
from gateway.handlers.common_shapes import AuditId, CappedListPage, KeyId, Time
from gateway.handlers.requests import parse_time, success_response
from gateway.http.envelope import list_page_payload
from gateway.http.query_parameters import PageQuery, requested_page
from gateway.openapi.operation import operation
from shared.identity import audit
from shared.platform.ids import AUDIT, KEY, parse_id
from shared.schema.audit import Action, ActorKind
from shared.schema.organizations import Mode

FilterText = Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
FilterTime = Annotated[str, msgspec.Meta(max_length=40, extra_json_schema={"format": "date-time"})]

UNKNOWN_REQUEST_ID: Final = uuid.UUID(int=0)
"""Replaces invalid request ids in filters; no request has it."""


class ListAuditEntries(PageQuery, kw_only=True):
    action: Action | UnsetType = UNSET
    actor: Annotated[FilterText, msgspec.Meta(description="A user's email, or an API key's id.")] | UnsetType = UNSET
    object_id: (
        Annotated[
            FilterText,
            msgspec.Meta(description="The id of a changed object, for example `pay_…`."),
        ]
        | UnsetType
    ) = UNSET
    request_id: Annotated[FilterText, msgspec.Meta(description="The `meta.requestId` of a response.")] | UnsetType = (
        UNSET
    )
    since: Annotated[FilterTime, msgspec.Meta(description="RFC 3339 with an offset, inclusive.")] | UnsetType = (
        msgspec.field(default=UNSET, name="from")
    )
    until: Annotated[FilterTime, msgspec.Meta(description="RFC 3339 with an offset, exclusive.")] | UnsetType = (
        msgspec.field(default=UNSET, name="to")
    )

    def filters(self) -> audit.EntryFilters:
        """Convert the filters.

        Raises:
            InvalidRequest: `from` or `to` is not a time.

        """
        key_id = None if self.actor is UNSET else parse_id(KEY, self.actor)
        return audit.EntryFilters(
            action=None if self.action is UNSET else self.action,
            email=self.actor if self.actor is not UNSET and key_id is None else None,
            key_id=key_id,
            object_id=None if self.object_id is UNSET else self.object_id,
            request_id=None if self.request_id is UNSET else _uuid(self.request_id),
            since=None if self.since is UNSET else parse_time(self.since, "from"),
            until=None if self.until is UNSET else parse_time(self.until, "to"),
        )


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        return UNKNOWN_REQUEST_ID


class AuditEntry(TypedDict):
    """A change: its actor, address, request and object, and what changed."""

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


@operation(query=ListAuditEntries, response=CappedListPage[AuditEntry])
async def list_audit_entries(request: web.Request, listing: ListAuditEntries) -> web.Response:
    """List the organization's audit log, newest first.

    `before` and `after` contain the changed fields; personal data is masked. A request for several payouts has one
    entry, with their `ids` in `after`. `total` is counted up to 10,000; `totalIsMinimum` is true if there are more.
    """
    account, page, filters = request[SIGNED_IN_USER], requested_page(listing, AUDIT), listing.filters()
    found = await request.app[SERVICES].read(
        lambda connection: audit.load_entries(connection, account.organization_id, page, filters)
    )
    items = [audit.entry_payload(row) for row in found.rows]
    capped_total = {"totalIsMinimum": found.total >= audit.ENTRIES_COUNTED_MAX}
    return success_response(request, list_page_payload(items, found, page) | capped_total)
