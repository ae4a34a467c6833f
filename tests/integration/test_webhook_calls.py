"""Webhook calls to real receivers: outcomes, limits, and addresses that are never called."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from standardwebhooks import Webhook

from shared.events import signing
from shared.events.claim import DeliveryAttempt
from shared.events.delivery_results import DeliveryResult
from shared.events.sender import RESPONSE_BYTES_MAX, WebhookSender
from shared.platform.clock import SystemClock
from shared.platform.ids import EVENT, new_id, public_id
from shared.platform.settings import Settings
from shared.schema.events import Pace
from tests.support.polling import until
from tests.support.webhook_receiver import Receiver, running_receiver
from tests.support.webhooks import PEPPER, add_endpoint, add_events, endpoint_row, send
from tests.support.world import World
from workers.delivery_worker import DeliveryWorker

SECRET = signing.generate_secret()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture(scope="module")
def short_timeouts(settings: Settings) -> Settings:
    """Settings with a timeout of one second instead of fifteen."""
    return msgspec.structs.replace(settings, webhooks_timeout_seconds=1.0, webhooks_connect_timeout_seconds=0.5)


@pytest.fixture(scope="module")
def sender(short_timeouts: Settings) -> Iterator[WebhookSender]:
    made = WebhookSender(short_timeouts, SystemClock())
    yield made
    made.close()


def attempt_to(url: str) -> DeliveryAttempt:
    now = SystemClock().now()
    sealed = (signing.seal_secret(SECRET, PEPPER),)
    return DeliveryAttempt(new_id(), new_id(), new_id(), 1, url, sealed, Pace.SLOW, b'{"id":"evt_1"}', now)


def call(sender: WebhookSender, url: str) -> DeliveryResult:
    [(_, result)] = send(sender, attempt_to(url))
    return result


@pytest.mark.parametrize(
    ("path", "outcome", "status", "error"),
    [
        ("/ok", "delivered", 200, None),
        ("/status/202", "delivered", 202, None),
        ("/status/204", "delivered", 204, None),
        ("/status/400", "refused", 400, "answered 400"),
        ("/status/500", "refused", 500, "answered 500"),
        ("/status/304", "refused", 304, "answered 304; redirects are not followed"),
        ("/redirect", "refused", 302, "answered 302; redirects are not followed"),
        ("/status/410", "gone", 410, "answered 410 Gone"),
        ("/later/120", "refused", 503, "answered 503"),
        ("/hang", "timeout", None, "no response within 1 s"),
        ("/nonsense", "unreachable", None, "the connection was lost, or the response was not HTTP"),
        ("/hangs-after-headers", "delivered", 200, None),
    ],
)
def test_only_2xx_in_time_is_a_success(
    sender: WebhookSender, receiver: Receiver, path: str, outcome: str, status: int | None, error: str | None
) -> None:
    result = call(sender, receiver.url + path)
    assert (result.outcome, result.http_status, result.error) == (outcome, status, error)
    assert result.retry_after_seconds == (120.0 if path.startswith("/later") else None)
    assert result.seconds < 1.5
    assert len(receiver.at(path)) == 1
    assert not receiver.at("/redirected")


@pytest.mark.parametrize("path", ["/endless", "/bomb"])
def test_large_response_is_not_read_and_compressed_one_not_decompressed(
    sender: WebhookSender, receiver: Receiver, path: str
) -> None:
    assert RESPONSE_BYTES_MAX == 16_384
    assert call(sender, receiver.url + path).is_delivered
    if path == "/endless":
        until(lambda: path in receiver.cut, "the connection was cut")


def test_call_verifies_with_standard_webhooks_and_keeps_its_id_on_a_repeat(
    sender: WebhookSender, receiver: Receiver
) -> None:
    attempt = attempt_to(receiver.url + "/verified")
    send(sender, attempt)
    send(sender, attempt)
    first, second = receiver.at("/verified")
    for received in (first, second):
        assert Webhook(SECRET).verify(received.body, received.headers) == {"id": "evt_1"}
        assert received.headers["webhook-id"] == public_id(EVENT, attempt.event_id)
    assert first.body == second.body
    assert first.headers["Content-Type"] == "application/json"


def silent_server() -> tuple[socket.socket, str]:
    """A server that accepts connections and never responds, and its URL."""
    server = socket.create_server(("127.0.0.1", 0), backlog=64)
    return server, f"http://127.0.0.1:{server.getsockname()[1]}/"


def test_silent_server_times_out_and_closed_port_is_unreachable(sender: WebhookSender) -> None:
    server, url = silent_server()
    with server:
        result = call(sender, url)
        assert (result.outcome, result.error) == ("timeout", "no response within 1 s")
    result = call(sender, url)
    assert (result.outcome, result.error) == ("unreachable", "could not connect")


@pytest.fixture
def production_sender(short_timeouts: Settings) -> Iterator[WebhookSender]:
    """A sender as in production, where loopback is not allowed."""
    made = WebhookSender(msgspec.structs.replace(short_timeouts, webhooks_allow_loopback=False), SystemClock())
    yield made
    made.close()


Names = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Addresses that each host name resolves to, in turn; only DNS is faked here."""
    answers: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def resolved(host: Any, port: Any, *arguments: Any, **named: Any) -> Any:
        if host not in answers:
            return real(host, port, *arguments, **named)
        address = answers[host].pop(0) if len(answers[host]) > 1 else answers[host][0]
        return real(address, port, *arguments, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    return answers


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]", "localhost", "inside.example.com", "mapped.example.com",
    ],
)  # fmt: skip
def test_loopback_is_blocked_in_every_notation(
    production_sender: WebhookSender, receiver: Receiver, names: dict[str, list[str]], scheme: str, host: str
) -> None:
    names |= {"inside.example.com": ["127.0.0.1"], "mapped.example.com": ["::ffff:127.0.0.1"]}
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        result = call(production_sender, f"{scheme}://{host}:{server.getsockname()[1]}/")
        assert (result.outcome, result.error) == ("blocked", "the host's address is not public")
        with pytest.raises(BlockingIOError):  # no connection was made
            server.accept()


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "224.0.0.1"])
def test_dns_rebinding_to_an_internal_address_is_blocked(
    sender: WebhookSender, receiver: Receiver, names: dict[str, list[str]], address: str
) -> None:
    # Given a name that first resolves to an allowed address
    names["rebinding.example.com"] = ["127.0.0.1", address]
    url = receiver.url.replace("127.0.0.1", "rebinding.example.com")
    assert call(sender, url).is_delivered
    # When it then resolves to an internal one, the next attempt is blocked, without naming the address
    result = call(sender, url)
    assert result.outcome == "blocked"
    assert address not in str(result.error)


def test_address_is_checked_again_when_the_socket_is_created(
    sender: WebhookSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a resolver that checks nothing
    monkeypatch.setattr("shared.events.sender.CheckedResolver.resolve", _resolve_unchecked)
    # Then an internal address is blocked before a packet is sent
    started = time.monotonic()
    result = call(sender, "https://unchecked.example.com/")
    assert time.monotonic() - started < 0.4, "connecting would have timed out after half a second"
    assert result.outcome == "blocked"


async def _resolve_unchecked(self: Any, host: str, port: int = 0, family: int = 0) -> Any:
    from aiohttp.abc import ResolveResult

    return [ResolveResult(hostname=host, host="10.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]


def test_unknown_host_name_is_unreachable(sender: WebhookSender, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    result = call(sender, "https://unknown.example.com/")
    assert (result.outcome, result.error) == ("unreachable", "the host name was not found")


def test_dead_endpoints_do_not_delay_others(
    short_timeouts: Settings, engine: sa.Engine, receiver: Receiver, world: World
) -> None:
    # Given 20 endpoints that never respond, each with events waiting, and one that does
    server, url = silent_server()
    worker = DeliveryWorker(short_timeouts, engine, SystemClock())
    with server:
        dead = World(engine)
        hooks = [add_endpoint(dead, f"{url}{number}") for number in range(20)]
        path = f"/alive/{world.wallet_id}"
        alive = add_endpoint(world, receiver.url + path)
        add_events(dead, 10)
        started = time.monotonic()
        worker.wake(hooks)
        # When there are events for the other one, they are delivered while all those calls hang
        add_events(world, 30)
        worker.wake([alive])
        until(lambda: len(receiver.at(path)) == 30, "all are received", seconds=10)
        took_seconds = time.monotonic() - started
        # each once, recorded, and at quick pace from the first response on
        done = "SELECT count(*) FROM webhook_deliveries WHERE endpoint_id = :id AND status = 'delivered'"
        until(lambda: world.rows(done, id=alive) == [(30,)], "all are recorded")
        assert endpoint_row(world, alive)["pace"] == "quick"
        assert len({received.headers["webhook-id"] for received in receiver.at(path)}) == 30
        until(lambda: all(endpoint_row(dead, hook)["pace"] == "failing" for hook in hooks), "the others are failing")
        worker.close()
    assert took_seconds < 1.0, f"30 events took {took_seconds:.2f} s; a call to a dead endpoint times out after 1 s"


def test_failed_delivery_is_repeated_once_the_endpoint_works(
    short_timeouts: Settings, engine: sa.Engine, receiver: Receiver, world: World
) -> None:
    path = f"/fail/1/{world.wallet_id}"
    hook = add_endpoint(world, receiver.url + path)
    add_events(world)
    worker = DeliveryWorker(short_timeouts, engine, world.clock)
    world.clock.moment = SystemClock().now()
    worker.wake([hook])
    until(lambda: endpoint_row(world, hook)["failures_in_a_row"] == 1, "the first attempt has failed")
    world.clock.advance(seconds=7)
    worker.wake([hook])
    until(lambda: len(receiver.at(path)) == 2, "it was repeated")
    until(lambda: endpoint_row(world, hook)["failures_in_a_row"] == 0, "the success is recorded")
    worker.close()
    first, second = receiver.at(path)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
