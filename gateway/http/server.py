"""The HTTP server: aiohttp's, with drain support, and with enveloped errors for requests that are not valid HTTP.

aiohttp answers an invalid request in plain text, repeats the invalid bytes, and logs them: these can contain keys.

This is the only module that uses private parts of aiohttp. They were read in `AIOHTTP_VERSION`, the version that
pyproject.toml pins; a test fails when their source changes. Read `web_protocol.py`, `web_server.py` and `web_runner.py`
again before an upgrade.
"""

import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler, _ErrInfo
from prometheus_client import Counter

from gateway.http.envelope import INTERNAL_ERROR_MESSAGE, error_body, json_response
from shared.platform.clock import SystemClock

logger = structlog.get_logger(__name__)

AIOHTTP_VERSION: Final = "3.14.5"
"""The version whose private parts were read."""

UNREADABLE_REQUESTS = Counter("ovnpay_http_unreadable_total", "Requests that are not valid HTTP.")
LINE_BYTES_MAX: Final = 8190
"""aiohttp's limit for the request line and for each header."""


class ConnectionHandler(RequestHandler):
    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Parse bytes; fail a body at its first malformed byte, where aiohttp waits for the rest of it."""
        super().data_received(data)
        current = self._current_request
        if current is None or not self._messages or not isinstance(self._messages[-1][0], _ErrInfo):
            return
        body = current.content
        if not body.is_eof() and body.exception() is None:
            body.set_exception(web.RequestPayloadError("malformed"))

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Resume reading only if it is paused.

        aiohttp calls this for each body; without the check that takes a sixth of the loop's time under load.
        """
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    @property
    def is_idle(self) -> bool:
        return self._current_request is None and not self._request_in_progress and not self._messages

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send a response; while the process drains, it closes its connection."""
        if isinstance(self._manager, ApiServer) and self._manager.closes_connections:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Leave out incomplete bodies: any client can cause them."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Respond to a request that reached no handler, and close the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("The response has already begun")
        request_id = str(uuid.uuid4())
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("request.failed", request_id=request_id, exc_info=exc)
            code, message_text = "INTERNAL_ERROR", INTERNAL_ERROR_MESSAGE
        else:
            UNREADABLE_REQUESTS.inc()
            code, message_text = "BAD_REQUEST", "The request is not valid HTTP/1.1"
            if isinstance(exc, LineTooLong):
                message_text = f"The request line and each header can have at most {LINE_BYTES_MAX} bytes"
        body = error_body(code, message_text, {}, request_id, SystemClock().now())
        headers = self._manager.headers if isinstance(self._manager, ApiServer) else {}
        failure = json_response(body, status, {**headers, "X-Request-Id": request_id})
        failure.force_close()
        return failure


class ApiServer(web.Server):
    headers: Mapping[str, str] = {}
    """The headers of each response, for those that reach no handler."""
    closes_connections = False
    """Whether each response closes its connection: set while the process drains."""

    def __call__(self) -> ConnectionHandler:
        return ConnectionHandler(self, loop=self._loop, **self._kwargs)

    def close_idle_connections(self) -> None:
        for connection in self.connections:
            if isinstance(connection, ConnectionHandler) and connection.is_idle:
                connection.force_close()


class ApiRunner(web.AppRunner):
    def __init__(self, application: web.Application, *, headers: Mapping[str, str], **options: Any) -> None:
        """`headers` are sent with each response, those to invalid requests included."""
        super().__init__(application, **options)
        self._headers = headers
        self.api_server: ApiServer

    async def _make_server(self) -> ApiServer:
        default = await super()._make_server()
        options: dict[str, Any] = default._kwargs
        server = ApiServer(
            default.request_handler, request_factory=default.request_factory, loop=default._loop, **options
        )
        server.headers = self._headers
        self.api_server = server
        return server
