"""The HTTP server: aiohttp's, but what can't even be read as HTTP is answered in the envelope too, and not logged.

aiohttp answers such a request itself, in plain text, with the bytes it did not like, and logs them: keys among them.
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

from gateway.http.envelope import error_body, json_response
from shared.platform.clock import SystemClock

logger = structlog.get_logger(__name__)

UNREADABLE_REQUESTS = Counter("ovnpay_http_unreadable_total", "Requests that could not be read as HTTP.")
LINE_BYTES_MAX: Final = 8190
"""aiohttp's limit for the first line and for each header."""


class ConnectionHandler(RequestHandler):
    """One connection."""

    __slots__ = ()

    def data_received(self, data: bytes) -> None:
        """Takes bytes in. A body that turns out to be malformed ends there, instead of being waited for."""
        super().data_received(data)
        under_way = self._current_request
        if under_way is None or not self._messages or not isinstance(self._messages[-1][0], _ErrInfo):
            return
        body = under_way.content
        if not body.is_eof() and body.exception() is None:
            body.set_exception(web.RequestPayloadError("malformed"))

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Goes on reading, where reading was paused. aiohttp asks for it at each body that is read: the parser is then
        fed nothing and the transport told what it does already, a sixth of the loop's time under load.
        """
        if self._reading_paused or self._buffer_paused:
            super().resume_reading(resume_parser)

    @property
    def is_idle(self) -> bool:
        """Whether nothing has come that is not answered."""
        return self._current_request is None and not self._request_in_progress and not self._messages

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Sends an answer; where the process is about to end it says so, and the connection ends with it."""
        if isinstance(self._manager, ApiServer) and self._manager.is_draining:
            resp.force_close()
        return await super().finish_response(request, resp, start_time)

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Leaves out what a client can cause at will: a body that does not end well."""
        if not isinstance(kw.get("exc_info"), web.RequestPayloadError):
            super().log_exception(*args, **kw)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers what no handler could, and closes the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("The answer had begun already")
        request_id = str(uuid.uuid4())
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.error("request.failed", request_id=request_id, exc_info=exc)
            code, sentence = "INTERNAL_ERROR", "An internal error; its cause is in our logs under the request id"
        else:
            UNREADABLE_REQUESTS.inc()
            code, sentence = "BAD_REQUEST", "The request is not valid HTTP/1.1"
            if isinstance(exc, LineTooLong):
                sentence = f"The first line and each header may have at most {LINE_BYTES_MAX} bytes"
        body = error_body(code, sentence, {}, request_id, SystemClock().now())
        headers = self._manager.headers if isinstance(self._manager, ApiServer) else {}
        answer = json_response(body, status, {**headers, "X-Request-Id": request_id})
        answer.force_close()
        return answer


class ApiServer(web.Server):
    """The listener: makes a `ConnectionHandler` for each connection."""

    headers: Mapping[str, str] = {}
    """What its own answers carry too."""
    is_draining = False
    """Whether each answer is its connection's last."""

    def __call__(self) -> ConnectionHandler:
        """A new connection's handler."""
        return ConnectionHandler(self, loop=self._loop, **self._kwargs)

    def close_idle_connections(self) -> None:
        """Closes the connections on which nothing is under way."""
        for connection in self.connections:
            if isinstance(connection, ConnectionHandler) and connection.is_idle:
                connection.force_close()


class ApiRunner(web.AppRunner):
    """Runs the application on a `ApiServer`."""

    def __init__(self, application: web.Application, *, headers: Mapping[str, str], **options: Any) -> None:
        """`headers` are what every answer carries, those to what can't be read among them."""
        super().__init__(application, **options)
        self._headers = headers
        self.own_server: ApiServer

    async def _make_server(self) -> ApiServer:
        made = await super()._make_server()
        options: dict[str, Any] = made._kwargs
        server = ApiServer(made.request_handler, request_factory=made.request_factory, loop=made._loop, **options)
        server.headers = self._headers
        self.own_server = server
        return server
