"""One HTTP request on a connection of its own, and its decoded answer."""

import http.client
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    """A response. `data` asserts success, `error` asserts failure."""

    status: int
    headers: http.client.HTTPMessage
    body: Any
    """Decoded JSON, or the text of a CSV file."""

    @property
    def data(self) -> Any:
        assert self.status == 200, self
        assert self.body["success"] is True, self
        return self.body["data"]

    @property
    def error(self) -> Any:
        assert self.status >= 400, self
        assert self.body["success"] is False, self
        return self.body["error"]


def call(
    url: str, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """Send one request on a connection of its own: threads share nothing."""
    address = urlsplit(url)
    assert address.hostname
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=30)
    try:
        # A server that refuses a body halfway stops reading, but may have responded.
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        text = response.read()
        if response.headers.get_content_type() == "text/csv":
            return Answer(response.status, response.headers, text.decode())
        return Answer(response.status, response.headers, json.loads(text) if text else None)
    finally:
        connection.close()
