"""What a refused request leaves behind goes at once: a body held by its error's traceback would wait for a collection,
and those are rare.
"""

import asyncio
import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from gateway.app_state import REQUEST_ID, SERVICES, Services
from gateway.http.envelope import ApiError
from gateway.http.middleware import convert_errors
from shared.platform.clock import SystemClock
from shared.platform.errors import NotFound


class Body:
    """What a handler holds while it refuses."""


@pytest.mark.parametrize(
    "refusal",
    [
        lambda: ApiError(400, "INVALID_JSON", "no"),
        lambda: NotFound("no"),
        web.HTTPNotFound,
        lambda: ValueError("a mistake of ours"),
    ],
)
def test_a_refused_body_is_not_kept(refusal: Callable[[], Exception]) -> None:
    held: list[weakref.ref[Body]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        body = Body()
        held.append(weakref.ref(body))
        raise refusal()

    async def answered() -> int:
        application = web.Application()
        application[SERVICES] = cast(Services, SimpleNamespace(clock=SystemClock()))
        request: Any = make_mocked_request("GET", "/", app=application)
        request[REQUEST_ID] = "a request"
        return (await convert_errors(request, handler)).status

    gc.disable()
    try:
        status = asyncio.run(answered())
        assert status >= 400
        assert [one() for one in held] == [None]
    finally:
        gc.enable()
