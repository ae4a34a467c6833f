"""The key goes where it belongs, and is never shown; a request is repeated under its key until its outcome is known."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shared.cli.client.connection import Connection, find_connection
from shared.cli.client.errors import ApiRejected, ApiUnreachable, UsageError
from shared.cli.client.transport import FIRST_TRIES, PAUSES_SECONDS, ApiResponse, Transport

KEY = "ovnp_prod_secret"


def local(folder: Path) -> Path:
    """A folder in which a stack runs."""
    (folder / ".ovnpay").mkdir()
    content = {"gateway": "http://127.0.0.1:8080", "sandbox_key": "ovnp_sbox_local"}
    (folder / ".ovnpay" / "stack.json").write_text(json.dumps(content))
    return folder


def test_options_come_before_the_environment_and_that_before_the_local_stack(tmp_path: Path) -> None:
    folder, environ = (
        local(tmp_path),
        {"OVNPAY_API_URL": "https://env.example/api/v1/", "OVNPAY_API_KEY": "ovnp_sbox_e"},
    )
    assert find_connection(None, None, {}, folder) == Connection("http://127.0.0.1:8080", "ovnp_sbox_local")
    assert find_connection(None, None, environ, folder) == Connection("https://env.example", "ovnp_sbox_e")
    assert find_connection("https://option.example", KEY, environ, folder) == Connection("https://option.example", KEY)


def test_a_key_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    environ = {"OVNPAY_API_URL": "https://env.example", "OVNPAY_API_KEY_FILE": str(tmp_path / "key")}
    found = find_connection(None, None, environ, tmp_path)
    assert (found.key, found.mode) == (KEY, "production")
    with pytest.raises(UsageError, match="can't be read"):
        find_connection(None, None, environ | {"OVNPAY_API_KEY_FILE": str(tmp_path / "none")}, tmp_path)


def test_the_local_stacks_key_is_sent_nowhere_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="API key"):
        find_connection("https://elsewhere.example", None, {}, local(tmp_path))


@pytest.mark.parametrize(
    "url",
    ["http://pay.example.com", "ftp://pay.example.com", "pay.example.com", "https://user@pay.example.com", "https://"],
)
def test_a_url_that_would_show_the_key_or_is_none_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        find_connection(url, KEY, {}, tmp_path)


def test_the_key_is_never_printed() -> None:
    assert KEY not in repr(Connection("https://pay.example.com", KEY))


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def ask(handler: Handler, method: str = "POST", key: str | None = "once") -> tuple[ApiResponse, list[float], list[str]]:
    """One request to a server that answers like this; its answer, the pauses made, the sentences said."""
    pauses: list[float] = []
    said: list[str] = []

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
        transport = Transport(Connection(f"http://127.0.0.1:{port}", KEY), said.append, sleep)
        try:
            return await transport.ask(method, "/api/v1/batches", body={"a": 1}, key=key)
        finally:
            await transport.close()
            await runner.cleanup()

    return asyncio.run(run()), pauses, said


def sequence(*answers: Any) -> tuple[Handler, list[web.Request]]:
    """A server that answers one after another (the last one again and again), and what it was asked."""
    asked: list[web.Request] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        asked.append(request)
        answer = answers[min(len(asked), len(answers)) - 1]
        if answer is None:  # it heard us, and we shall never know
            assert request.transport is not None
            request.transport.close()
            return web.Response()
        status, body, headers = answer
        return web.json_response(body, status=status, headers=headers)

    return handler, asked


DONE = (200, {"success": True, "data": {"id": "batch_1"}, "meta": {}}, {})


def failed(status: int, code: str, **headers: str) -> Any:
    return (status, {"success": False, "error": {"code": code, "message": "No."}, "meta": {"requestId": "r1"}}, headers)


def test_a_lost_answer_a_500_and_a_503_are_asked_again_under_the_same_key() -> None:
    handler, asked = sequence(
        None, failed(500, "INTERNAL_ERROR"), failed(503, "SERVICE_UNAVAILABLE", **{"Retry-After": "7"}), DONE
    )
    answer, pauses, said = ask(handler)
    assert (answer.data, answer.tries) == ({"id": "batch_1"}, 4)
    assert {request.headers["Idempotency-Key"] for request in asked} == {"once"}
    assert pauses == [PAUSES_SECONDS[0], PAUSES_SECONDS[1], 7.0]
    assert all("same Idempotency-Key" in sentence for sentence in said)
    assert KEY not in " ".join(said)


def test_the_rate_limit_is_waited_for_as_long_as_it_says() -> None:
    limited = failed(429, "RATE_LIMITED", **{"Retry-After": "12"})
    handler, asked = sequence(limited, limited, DONE)
    _, pauses, _ = ask(handler, "GET")
    assert (pauses, len(asked)) == ([12.0, 12.0], 3)


def test_a_definite_no_is_not_asked_again() -> None:
    handler, asked = sequence(failed(409, "DUPLICATE_PAYOUT"))
    with pytest.raises(ApiRejected, match=r"No \(DUPLICATE_PAYOUT, request r1\)"):
        ask(handler)
    assert len(asked) == 1


def test_a_key_that_is_in_use_is_asked_again() -> None:
    handler, asked = sequence(failed(409, "IDEMPOTENCY_KEY_IN_USE", **{"Retry-After": "1"}), DONE)
    ask(handler)
    assert len(asked) == 2


def test_patience_ends_and_the_outcome_is_said_to_be_unknown() -> None:
    handler, asked = sequence(failed(503, "SERVICE_UNAVAILABLE"))
    with pytest.raises(ApiUnreachable, match="not known"):
        ask(handler)
    assert len(asked) == len(PAUSES_SECONDS) + 1


def test_a_server_that_is_not_ours_is_given_up_soon_and_never_follows_the_key_elsewhere() -> None:
    handler, asked = sequence((302, {}, {"Location": "http://127.0.0.1:1/stolen"}))
    with pytest.raises(ApiUnreachable, match="is the URL right"):
        ask(handler)
    assert len(asked) == FIRST_TRIES + 1


def test_every_post_has_a_key_of_its_own_where_none_is_given() -> None:
    handler, asked = sequence(DONE)
    ask(handler, key=None)
    ask(handler, key=None)
    assert len({request.headers["Idempotency-Key"] for request in asked}) == 2
