"""The handler of a payout's timeline."""

from typing import Any

from aiohttp import web

from gateway.app_state import SERVICES
from gateway.handlers.payout_shapes import Timeline
from gateway.handlers.requests import success_response, wallet_id
from gateway.openapi.operation import operation
from shared.payouts.timeline import ExpectedNextStep, load_timeline
from shared.platform.clock import format_rfc3339
from shared.platform.errors import NotFound
from shared.platform.ids import PAYOUT, echo_id, parse_id


@operation(response=Timeline, error_codes=("PAYOUT_NOT_FOUND",))
async def get_payout_timeline(request: web.Request) -> web.Response:
    """Return a payout's history, oldest first, and its expected next step.

    It covers all attempts: status changes, requests to Paystream and their responses, webhooks, customer events, and
    transfers. Up to the newest 1,000 events are returned; `truncated` is true if there are older ones.
    """
    wallet, text, now = wallet_id(request), request.match_info["id"], request.app[SERVICES].clock.now()
    payout_id = parse_id(PAYOUT, text)
    found = None
    if payout_id is not None:
        found = await request.app[SERVICES].read(lambda connection: load_timeline(connection, wallet, payout_id, now))
    if found is None:
        raise NotFound(f"No payout {echo_id(PAYOUT, text)}", code="PAYOUT_NOT_FOUND")
    return success_response(
        request,
        {
            "payoutId": text,
            "status": found.status,
            "events": [
                {"at": format_rfc3339(event.at), "kind": event.kind, "title": event.title, "details": event.details}
                for event in found.events
            ],
            "truncated": found.truncated,
            "next": found.next and _next(found.next),
        },
    )


def _next(expected: ExpectedNextStep) -> dict[str, Any]:
    arrival = expected.arrival
    return {
        "kind": expected.kind,
        "expected": expected.sentence,
        "by": expected.by and format_rfc3339(expected.by),
        "estimatedArrival": arrival and {"speed": arrival.speed, "by": format_rfc3339(arrival.by)},
    }
