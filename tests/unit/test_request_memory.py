"""A rejected request frees its body at once: a body kept by its error's traceback would wait for a rare collection."""

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
    """A body that the handler refers to."""


@pytest.mark.parametrize(
    "error",
    [
        lambda: ApiError(400, "INVALID_JSON", "no"),
        lambda: NotFound("no"),
        web.HTTPNotFound,
        lambda: ValueError("a bug"),
    ],
)
def test_body_of_a_rejected_request_is_freed(error: Callable[[], Exception]) -> None:
    bodies: list[weakref.ref[Body]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        body = Body()
        bodies.append(weakref.ref(body))
        raise error()

    async def answer() -> int:
        application = web.Application()
        application[SERVICES] = cast(Services, SimpleNamespace(clock=SystemClock()))
        request: Any = make_mocked_request("GET", "/", app=application)
        request[REQUEST_ID] = "a request"
        return (await convert_errors(request, handler)).status

    gc.disable()
    try:
        status = asyncio.run(answer())
        assert status >= 400
        assert [one() for one in bodies] == [None]
    finally:
        gc.enable()
