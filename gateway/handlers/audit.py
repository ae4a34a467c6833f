"""The endpoint of the audit log. It speaks snake_case, as all of the admin's do."""

import uuid
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from gateway import shapes
from gateway.app_state import ACCOUNT, SERVICES
from gateway.handlers.shared_steps import success, time_in
from gateway.http.envelope import page as shaped_page
from gateway.http.query_parameters import Listing, wanted
from gateway.openapi.operation import operation
from shared.identity import audit
from shared.platform.ids import AUDIT, KEY, parse
from shared.schema.audit import Action

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
Moment = Annotated[str, msgspec.Meta(max_length=40, extra_json_schema={"format": "date-time"})]

NO_REQUEST: Final = uuid.UUID(int=0)
"""Stands for text that can't be a request's id: none has it."""


class ListEntries(Listing, kw_only=True):
    """Which entries."""

    action: Action | UnsetType = UNSET
    actor: Annotated[Text, msgspec.Meta(description="A user's email, or an API key's id.")] | UnsetType = UNSET
    object_id: (
        Annotated[Text, msgspec.Meta(description="What it was done to, as in `pay_…`, also among several.")] | UnsetType
    ) = UNSET
    request_id: Annotated[Text, msgspec.Meta(description="`meta.requestId` of an answer.")] | UnsetType = UNSET
    since: (
        Annotated[Moment, msgspec.Meta(description="RFC 3339 with Z or an offset: at this time or later.")] | UnsetType
    ) = msgspec.field(default=UNSET, name="from")
    until: Annotated[Moment, msgspec.Meta(description="The same: before this time.")] | UnsetType = msgspec.field(
        default=UNSET, name="to"
    )

    def filters(self) -> audit.Filters:
        """As the log takes them.

        Raises:
            Invalid: `from` or `to` is no time.

        """
        key_id = None if self.actor is UNSET else parse(KEY, self.actor)
        return audit.Filters(
            action=None if self.action is UNSET else self.action,
            email=self.actor if self.actor is not UNSET and key_id is None else None,
            key_id=key_id,
            object_id=None if self.object_id is UNSET else self.object_id,
            request_id=None if self.request_id is UNSET else _uuid(self.request_id),
            since=None if self.since is UNSET else time_in(self.since, "from"),
            until=None if self.until is UNSET else time_in(self.until, "to"),
        )


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        return NO_REQUEST


@operation(query=ListEntries, answer=shapes.ListedCapped[shapes.AuditEntry])
async def page(request: web.Request, listing: ListEntries) -> web.Response:
    """Lists the organization's audit log, newest first: who did what to which object.

    `before` and `after` have the fields that changed; personal data is masked. A request for several payouts has one
    entry, with their `ids` in `after`. `total` is counted to 10,000; `totalIsMinimum` says that there are more.
    """
    account, part, filters = request[ACCOUNT], wanted(listing, AUDIT), listing.filters()
    found = await request.app[SERVICES].read(
        lambda connection: audit.page(connection, account.organization_id, part, filters)
    )
    items = [audit.public(row) for row in found.rows]
    counted_out = {"totalIsMinimum": found.total >= audit.COUNTED_MOST}
    return success(request, shaped_page(items, found, part) | counted_out)
