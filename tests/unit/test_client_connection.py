"""API URL and key are found safely; a request is repeated with its Idempotency-Key until its outcome is known."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shared.cli.client.connection import Connection, find_connection
from shared.cli.client.errors import ApiRejected, ApiUnreachable, UsageError
from shared.cli.client.transport import FIRST_RETRIES, PAUSES_SECONDS, ApiResponse, Transport

KEY = "ovnp_prod_secret"


def folder_with_stack(folder: Path) -> Path:
    """Write the stack.json of a running stack."""
    (folder / ".ovnpay").mkdir()
    content = {"gateway": "http://127.0.0.1:8080", "sandbox_key": "ovnp_sbox_local"}
    (folder / ".ovnpay" / "stack.json").write_text(json.dumps(content))
    return folder


def test_options_take_precedence_over_environment_over_local_stack(tmp_path: Path) -> None:
    folder = folder_with_stack(tmp_path)
    environ = {"OVNPAY_API_URL": "https://env.example/api/v1/", "OVNPAY_API_KEY": "ovnp_sbox_e"}
    assert find_connection(None, None, {}, folder) == Connection("http://127.0.0.1:8080", "ovnp_sbox_local")
    assert find_connection(None, None, environ, folder) == Connection("https://env.example", "ovnp_sbox_e")
    assert find_connection("https://option.example", KEY, environ, folder) == Connection("https://option.example", KEY)


def test_key_is_read_from_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    environ = {"OVNPAY_API_URL": "https://env.example", "OVNPAY_API_KEY_FILE": str(tmp_path / "key")}
    found = find_connection(None, None, environ, tmp_path)
    assert (found.key, found.mode) == (KEY, "production")
    with pytest.raises(UsageError, match="can't be read"):
        find_connection(None, None, environ | {"OVNPAY_API_KEY_FILE": str(tmp_path / "none")}, tmp_path)


def test_key_of_local_stack_is_not_sent_to_another_url(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="API key"):
        find_connection("https://elsewhere.example", None, {}, folder_with_stack(tmp_path))


@pytest.mark.parametrize(
    "url",
    ["http://pay.example.com", "ftp://pay.example.com", "pay.example.com", "https://user@pay.example.com", "https://"],
)
def test_malformed_or_unencrypted_url_is_rejected(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        find_connection(url, KEY, {}, tmp_path)


def test_repr_of_connection_hides_the_key() -> None:
    assert KEY not in repr(Connection("https://pay.example.com", KEY))


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def send(
    handler: Handler, method: str = "POST", key: str | None = "once"
) -> tuple[ApiResponse, list[float], list[str]]:
    """Send one request to this server; return its response, the pauses in seconds, and the messages."""
    pauses: list[float] = []
    messages: list[str] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    async def run() -> ApiResponse:
        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handler)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        transport = Transport(Connection(f"http://127.0.0.1:{port}", KEY), messages.append, sleep)
        try:
            return await transport.request(method, "/api/v1/batches", body={"a": 1}, key=key)
        finally:
            await transport.close()
            await runner.cleanup()

    return asyncio.run(run()), pauses, messages


def respond(*responses: Any) -> tuple[Handler, list[web.Request]]:
    """Return a server that gives these responses in turn (None drops the connection) and then repeats the last one,
    and the list of its requests.
    """
    requests: list[web.Request] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        response = responses[min(len(requests), len(responses)) - 1]
        if response is None:
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, body, headers = response
        return web.json_response(body, status=status, headers=headers)

    return handler, requests


DONE = (200, {"success": True, "data": {"id": "batch_1"}, "meta": {}}, {})


def error_response(status: int, code: str, **headers: str) -> Any:
    return (status, {"success": False, "error": {"code": code, "message": "No."}, "meta": {"requestId": "r1"}}, headers)


def test_lost_response_500_and_503_are_repeated_with_the_same_key() -> None:
    handler, requests = respond(
        None,
        error_response(500, "INTERNAL_ERROR"),
        error_response(503, "SERVICE_UNAVAILABLE", **{"Retry-After": "7"}),
        DONE,
    )
    response, pauses, messages = send(handler)
    assert (response.data, response.attempts) == ({"id": "batch_1"}, 4)
    assert {request.headers["Idempotency-Key"] for request in requests} == {"once"}
    assert pauses == [PAUSES_SECONDS[0], PAUSES_SECONDS[1], 7.0]
    assert all("same Idempotency-Key" in sentence for sentence in messages)
    assert KEY not in " ".join(messages)


def test_rate_limited_request_waits_for_retry_after() -> None:
    limited = error_response(429, "RATE_LIMITED", **{"Retry-After": "12"})
    handler, requests = respond(limited, limited, DONE)
    _, pauses, _ = send(handler, "GET")
    assert (pauses, len(requests)) == ([12.0, 12.0], 3)


def test_definite_error_is_not_repeated() -> None:
    handler, requests = respond(error_response(409, "DUPLICATE_PAYOUT"))
    with pytest.raises(ApiRejected, match=r"No \(DUPLICATE_PAYOUT, request r1\)"):
        send(handler)
    assert len(requests) == 1


def test_request_whose_key_is_in_use_is_repeated() -> None:
    handler, requests = respond(error_response(409, "IDEMPOTENCY_KEY_IN_USE", **{"Retry-After": "1"}), DONE)
    send(handler)
    assert len(requests) == 2


def test_after_all_attempts_the_outcome_is_unknown() -> None:
    handler, requests = respond(error_response(503, "SERVICE_UNAVAILABLE"))
    with pytest.raises(ApiUnreachable, match="not known"):
        send(handler)
    assert len(requests) == len(PAUSES_SECONDS) + 1


def test_redirect_of_another_server_is_not_followed_and_retried_less() -> None:
    handler, requests = respond((302, {}, {"Location": "http://127.0.0.1:1/stolen"}))
    with pytest.raises(ApiUnreachable, match="check the URL"):
        send(handler)
    assert len(requests) == FIRST_RETRIES + 1


def test_post_without_key_gets_a_new_one() -> None:
    handler, requests = respond(DONE)
    send(handler, key=None)
    send(handler, key=None)
    assert len({request.headers["Idempotency-Key"] for request in requests}) == 2


def test_stack_json_of_a_killed_stack_is_ignored(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder = folder_with_stack(tmp_path)
    path = folder / ".ovnpay" / "stack.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"processes": {"stack": ended.pid}}))
    with pytest.raises(UsageError, match="no local stack runs here"):
        find_connection(None, None, {}, folder)


def test_local_stack_is_found_from_a_folder_of_the_project(tmp_path: Path) -> None:
    folder_with_stack(tmp_path)
    (tmp_path / "pyproject.toml").write_text("")
    (tmp_path / "below").mkdir()
    assert find_connection(None, None, {}, tmp_path / "below").url == "http://127.0.0.1:8080"
