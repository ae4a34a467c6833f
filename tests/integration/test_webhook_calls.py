"""Calls of webhooks, to real receivers: what counts as success, what is given up, and where no call gets to."""

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
from tests.integration.webhooks import PEPPER, endpoint, happen, row, sent
from tests.support.polling import until
from tests.support.webhook_receiver import Receiver, running_receiver
from tests.support.world import World
from workers.delivery_worker import DeliveryWorker

SECRET = signing.generate_secret()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with running_receiver() as running:
        yield running


@pytest.fixture(scope="module")
def hurried(settings: Settings) -> Settings:
    """A second for an answer, so that the tests need not wait for fifteen."""
    return msgspec.structs.replace(settings, webhooks_timeout_seconds=1.0, webhooks_connect_timeout_seconds=0.5)


@pytest.fixture(scope="module")
def sender(hurried: Settings) -> Iterator[WebhookSender]:
    made = WebhookSender(hurried, SystemClock())
    yield made
    made.close()


def attempt(url: str) -> DeliveryAttempt:
    now = SystemClock().now()
    sealed = (signing.seal_secret(SECRET, PEPPER),)
    return DeliveryAttempt(new_id(), new_id(), new_id(), 1, url, sealed, Pace.SLOW, b'{"id":"evt_1"}', now)


def reply_to(sender: WebhookSender, url: str) -> DeliveryResult:
    [(_, reply)] = sent(sender, attempt(url))
    return reply


@pytest.mark.parametrize(
    ("path", "result", "status", "error"),
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
def test_only_2xx_in_time_is_success(
    sender: WebhookSender, receiver: Receiver, path: str, result: str, status: int | None, error: str | None
) -> None:
    reply = reply_to(sender, receiver.url + path)
    assert (reply.outcome, reply.http_status, reply.error) == (result, status, error)
    assert reply.retry_after_seconds == (120.0 if path.startswith("/later") else None)
    assert reply.seconds < 1.5
    assert len(receiver.at(path)) == 1
    assert not receiver.at("/redirected")


@pytest.mark.parametrize("path", ["/endless", "/bomb"])
def test_a_huge_reply_is_not_read_and_a_compressed_one_not_inflated(
    sender: WebhookSender, receiver: Receiver, path: str
) -> None:
    assert RESPONSE_BYTES_MAX == 16_384
    assert reply_to(sender, receiver.url + path).is_delivered
    if path == "/endless":
        until(lambda: path in receiver.cut, "the connection was cut")


def test_what_arrives_is_verified_by_a_library_and_has_the_same_id_each_time(
    sender: WebhookSender, receiver: Receiver
) -> None:
    one = attempt(receiver.url + "/verified")
    sent(sender, one)
    sent(sender, one)
    first, second = receiver.at("/verified")
    for heard in (first, second):
        assert Webhook(SECRET).verify(heard.body, heard.headers) == {"id": "evt_1"}
        assert heard.headers["webhook-id"] == public_id(EVENT, one.event_id)
    assert first.body == second.body
    assert first.headers["Content-Type"] == "application/json"


def nowhere() -> tuple[socket.socket, str]:
    """A port that takes connections and never says a word."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=64)
    return listening, f"http://127.0.0.1:{listening.getsockname()[1]}/"


def test_who_is_not_there_or_never_answers_costs_its_time_and_no_more(sender: WebhookSender) -> None:
    listening, url = nowhere()
    with listening:
        reply = reply_to(sender, url)
        assert (reply.outcome, reply.error) == ("timeout", "no response within 1 s")
    reply = reply_to(sender, url)
    assert (reply.outcome, reply.error) == ("unreachable", "could not connect")


@pytest.fixture
def strict(hurried: Settings) -> Iterator[WebhookSender]:
    """A sender as in production: nobody may name the machine itself."""
    made = WebhookSender(msgspec.structs.replace(hurried, webhooks_allow_loopback=False), SystemClock())
    yield made
    made.close()


Names = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What names resolve to, in turn: DNS is the one thing here that is not real."""
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
def test_no_call_gets_to_this_machine_however_it_is_named(
    strict: WebhookSender, receiver: Receiver, names: dict[str, list[str]], scheme: str, host: str
) -> None:
    names |= {"inside.example.com": ["127.0.0.1"], "mapped.example.com": ["::ffff:127.0.0.1"]}
    with socket.create_server(("127.0.0.1", 0)) as inside:
        inside.setblocking(False)
        reply = reply_to(strict, f"{scheme}://{host}:{inside.getsockname()[1]}/")
        assert (reply.outcome, reply.error) == ("blocked", "the host's address is not public")
        with pytest.raises(BlockingIOError):  # nobody has even connected
            inside.accept()


@pytest.mark.parametrize("address", ["169.254.169.254", "10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::1", "224.0.0.1"])
def test_a_name_that_points_inside_is_blocked_whatever_it_pointed_to_before(
    sender: WebhookSender, receiver: Receiver, names: dict[str, list[str]], address: str
) -> None:
    # Given a name that points to where we may go, at first
    names["rebinding.example.com"] = ["127.0.0.1", address]
    url = receiver.url.replace("127.0.0.1", "rebinding.example.com")
    assert reply_to(sender, url).is_delivered
    # When it then points inside, the next attempt is blocked, and does not say to where
    reply = reply_to(sender, url)
    assert reply.outcome == "blocked"
    assert address not in str(reply.error)


def test_what_is_checked_is_the_address_that_is_connected_to(
    sender: WebhookSender, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given a resolver whose check is wrong, so that only the check of the socket is left
    monkeypatch.setattr("shared.events.sender.CheckedResolver.resolve", _unguarded)
    # Then an address inside is blocked all the same, before a packet is sent
    started = time.monotonic()
    reply = reply_to(sender, "https://unguarded.example.com/")
    assert time.monotonic() - started < 0.4, "a connection to nowhere would take half a second"
    assert reply.outcome == "blocked"


async def _unguarded(self: Any, host: str, port: int = 0, family: int = 0) -> Any:
    from aiohttp.abc import ResolveResult

    return [ResolveResult(hostname=host, host="10.0.0.1", port=port, family=socket.AF_INET, proto=0, flags=0)]


def test_a_name_that_is_not_there(sender: WebhookSender, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    reply = reply_to(sender, "https://nowhere.example.com/")
    assert (reply.outcome, reply.error) == ("unreachable", "the host name was not found")


def test_dead_endpoints_delay_nobody_else(
    hurried: Settings, engine: sa.Engine, receiver: Receiver, world: World
) -> None:
    # Given forty customers whose endpoints never answer, each with events waiting, and one whose does
    listening, url = nowhere()
    deliverer = DeliveryWorker(hurried, engine, SystemClock())
    with listening:
        dead = World(engine)
        hooks = [endpoint(dead, f"{url}{number}") for number in range(20)]
        path = f"/alive/{world.wallet_id}"
        alive = endpoint(world, receiver.url + path)
        happen(dead, 10)
        started = time.monotonic()
        deliverer.wake(hooks)
        # When events happen to the others, then they are delivered while all of those hang
        happen(world, 30)
        deliverer.wake([alive])
        until(lambda: len(receiver.at(path)) == 30, "all have come", seconds=10)
        took_seconds = time.monotonic() - started
        # each once, recorded, and in the quick lane from the first answer on
        done = "SELECT count(*) FROM webhook_deliveries WHERE endpoint_id = :id AND status = 'delivered'"
        until(lambda: world.rows(done, id=alive) == [(30,)], "all are recorded")
        assert row(world, alive)["pace"] == "quick"
        assert len({heard.headers["webhook-id"] for heard in receiver.at(path)}) == 30
        until(lambda: all(row(dead, hook)["pace"] == "failing" for hook in hooks), "the others are known to be dead")
        deliverer.close()
    assert took_seconds < 1.0, f"30 events took {took_seconds:.2f} s; a dead endpoint takes 1 s to give up"


def test_an_endpoint_that_comes_back_gets_what_it_missed(
    hurried: Settings, engine: sa.Engine, receiver: Receiver, world: World
) -> None:
    path = f"/fail/1/{world.wallet_id}"
    hook = endpoint(world, receiver.url + path)
    happen(world)
    deliverer = DeliveryWorker(hurried, engine, world.clock)
    world.clock.moment = SystemClock().now()
    deliverer.wake([hook])
    until(lambda: row(world, hook)["failures_in_a_row"] == 1, "the first attempt has failed")
    world.clock.advance(seconds=7)
    deliverer.wake([hook])
    until(lambda: len(receiver.at(path)) == 2, "it came again")
    until(lambda: row(world, hook)["failures_in_a_row"] == 0, "that is recorded")
    deliverer.close()
    first, second = receiver.at(path)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
