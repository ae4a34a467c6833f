"""The handler of the event feed, with long polling."""

import asyncio
import time
from functools import partial
from typing import Annotated, Final

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from gateway.app_state import SERVICES, STOPPING
from gateway.handlers.requests import success_response, wallet_id
from gateway.handlers.webhook_shapes import EventPage
from gateway.http.envelope import ApiError
from gateway.http.query_parameters import PAGE_SIZE_MAX
from gateway.openapi.operation import operation
from shared.events.customer_events import TEST_EVENT_TYPE, EventType
from shared.events.queries import load_events
from shared.events.rows import event_payload
from shared.platform.ids import EVENT, parse_id, public_id

EVENT_POLL_SECONDS: Final = 0.5
EVENT_TYPES: Final = frozenset(EventType) | {TEST_EVENT_TYPE}
_TYPE: Final = "|".join(sorted(EVENT_TYPES)).replace(".", r"\.")


class ListEvents(msgspec.Struct, forbid_unknown_fields=True):
    after: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=100,
                description="The `after` of the previous response.",
                extra_json_schema={"pattern": r"^evt_[0-7][0-9a-hjkmnp-tv-z]{25}$"},
            ),
        ]
        | UnsetType
    ) = UNSET
    types: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=500,
                description="Only these types, separated by commas.",
                examples=["payout.succeeded"],
                extra_json_schema={"pattern": f"^({_TYPE})(,({_TYPE}))*$"},
            ),
        ]
        | UnsetType
    ) = UNSET
    limit: Annotated[int, msgspec.Meta(ge=1, le=PAGE_SIZE_MAX, description="Maximum number of events.")] = 50
    wait: Annotated[int, msgspec.Meta(ge=0, le=20, description="Seconds to wait if there is no event yet.")] = 0


@operation(query=ListEvents, response=EventPage)
async def list_events(request: web.Request, parameters: ListEvents) -> web.Response:
    """List the events after a position, oldest first; without `after`, the newest ones.

    Following `after` returns each event once. An event is listed about half a second after it happened.
    """
    services, wallet = request.app[SERVICES], wallet_id(request)
    after = None if parameters.after is UNSET else parse_id(EVENT, parameters.after)
    if parameters.after is not UNSET and after is None:
        raise ApiError(400, "VALIDATION_ERROR", "`after` is not a value returned by this list", field="after")
    types = None if parameters.types is UNSET else parameters.types.split(",")
    if types is not None and not EVENT_TYPES.issuperset(types):
        raise ApiError(400, "VALIDATION_ERROR", f"`types` can contain {', '.join(sorted(EVENT_TYPES))}", field="types")
    deadline = time.monotonic() + parameters.wait
    while True:
        found = await services.read(
            partial(load_events, wallet_id=wallet, after=after, types=types, limit=parameters.limit)
        )
        if found.events or time.monotonic() >= deadline or request.app[STOPPING].is_set():
            items = [event_payload(row) for row in found.events]
            return success_response(request, {"items": items, "after": public_id(EVENT, found.after)})
        after = found.after
        await asyncio.sleep(min(EVENT_POLL_SECONDS, max(deadline - time.monotonic(), 0)))
