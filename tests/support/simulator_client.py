"""A simulator on a free port, a client of its API, and a receiver of its webhooks."""

import asyncio
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
import msgspec
from aiohttp import web

from deploy.simulator.options import Options
from deploy.simulator.server import Simulator

T = TypeVar("T")
SECRET = "whsec_of_the_tests"
WAIT_SECONDS_MAX = 8.0
FAST: dict[str, Any] = {
    "port": 0,
    "webhook_secret": SECRET,
    "rtp_seconds": 0.02,
    "same_day_seconds": 0.03,
    "standard_seconds": 0.04,
    "return_seconds": 0.03,
    "rtp_topup_seconds": 0.03,
    "ach_topup_seconds": 0.4,
    "verify_seconds": 0.01,
    "live_verify_seconds": 0.01,
    "requests_per_hour": 0,
    "funding_per_minute": 0,
    "starting_balance_cents": 1_000_000_00,
}


@dataclass
class Reply:
    """A response of the API; `data` fails for an error, `error` for a success."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.content)

    @property
    def data(self) -> Any:
        assert self.status in (200, 201), f"{self.status}: {self.content!r}"
        return self.json["data"]

    @property
    def error(self) -> Any:
        assert self.status >= 400, f"{self.status}: {self.content!r}"
        return self.json["error"]


class SimulatorClient:
    """Client of a running simulator."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str | None = None,
        api_key: str | None = "psk_test_simulator",
        content: bytes | None = None,
        timeout_seconds: float = WAIT_SECONDS_MAX,
    ) -> Reply:
        headers = {"Content-Type": "application/json"}
        if api_key is not None:
            headers["Authorization"] = f"Bearer {api_key}"
        if key is not None:
            headers["Idempotency-Key"] = key
        data = io.BytesIO(content or b"" if body is None else msgspec.json.encode(body))
        timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        url = self.url + path
        async with self._session.request(method, url, data=data, headers=headers, timeout=timeout) as answer:
            return Reply(answer.status, dict(answer.headers), await answer.read())

    async def post(self, path: str, body: Any, **options: Any) -> Reply:
        return await self.call("POST", "/api/v1" + path, body, **options)

    async def get(self, path: str, **options: Any) -> Reply:
        return await self.call("GET", "/api/v1" + path, **options)

    async def control(self, method: str, path: str, body: Any = None) -> Any:
        reply = await self.call(method, "/control" + path, body, api_key=None)
        assert reply.status == 200, reply.content
        return reply.json

    async def record(self) -> Any:
        return await self.control("GET", "/record")

    async def recipient(self, email: str = "driver@example.com", **options: Any) -> str:
        """Create a recipient; return its id once it is verified."""
        created = (await self.post("/recipients", {"name": "A Driver", "email": email}, **options)).data
        await self.until_method(created["id"], "verified", **options)
        return str(created["id"])

    async def until_method(self, recipient_id: str, status: str, **options: Any) -> Any:
        async def probe() -> Any:
            (method,) = (await self.get(f"/recipients/{recipient_id}/payment-methods", **options)).data
            return method if method["status"] == status else None

        return await until(probe)

    async def pay(self, recipient_id: str, amount: int = 1_000, **fields: Any) -> Any:
        key = fields.pop("key", None)
        body = {"recipientId": recipient_id, "amount": amount, "rail": "rtp", **fields}
        return (await self.post("/payments", body, key=key)).data

    async def until_payment(self, payment_id: str, status: str) -> Any:
        async def probe() -> Any:
            payment = (await self.get(f"/payments/{payment_id}")).data
            return payment if payment["status"] == status else None

        return await until(probe)

    async def balance(self, **options: Any) -> tuple[int, int, int]:
        """Return available, pending and locked cents."""
        summary = (await self.get("/balance/summary", **options)).data
        return summary["availableBalance"], summary["pendingBalance"], summary["lockedBalance"]


@dataclass
class ReceivedWebhook:
    """A webhook as it arrived."""

    raw: bytes
    signature: str
    at: float

    @property
    def body(self) -> Any:
        return msgspec.json.decode(self.raw)

    @property
    def type(self) -> str:
        return str(self.body["type"])


class Receiver:
    """Webhook endpoint that responds with `status` and stores what it receives."""

    def __init__(self) -> None:
        self.status = 200
        self.webhooks: list[ReceivedWebhook] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        raw = await request.read()
        now = asyncio.get_running_loop().time()
        self.webhooks.append(ReceivedWebhook(raw, request.headers["X-Signature"], now))
        return web.Response(status=self.status)

    def about(self, subject_id: str) -> list[ReceivedWebhook]:
        return [webhook for webhook in self.webhooks if subject_id in webhook.body["data"].values()]

    def event_types_of(self, subject_id: str) -> list[str]:
        return [webhook.type for webhook in self.about(subject_id)]

    async def until_received(self, subject_id: str, kind: str, times: int = 1) -> None:
        async def probe() -> bool:
            return self.event_types_of(subject_id).count(kind) >= times

        await until(probe)


async def until(condition: Callable[[], Awaitable[T]]) -> T:
    """Return the first truthy result of the condition; fail after `WAIT_SECONDS_MAX`."""
    async with asyncio.timeout(WAIT_SECONDS_MAX):
        while not (found := await condition()):  # noqa: ASYNC110 - it polls another process
            await asyncio.sleep(0.005)
    return found


@asynccontextmanager
async def webhook_receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/webhooks", receiver.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhooks"
    try:
        yield receiver
    finally:
        await runner.cleanup()


@asynccontextmanager
async def run_simulator(**options: Any) -> AsyncIterator[SimulatorClient]:
    """Run a simulator in this process; yield a client."""
    simulator = Simulator(Options(**{**FAST, **options}))
    url = await simulator.start()
    try:
        async with aiohttp.ClientSession() as session:
            yield SimulatorClient(url, session)
    finally:
        await simulator.stop()


class SimulatorProcess:
    """A simulator in a process of its own, for tests that kill it."""

    def __init__(self, record: Path, **options: Any) -> None:
        arguments = [sys.executable, "-m", "deploy.simulator", f"--record={record}"]
        for name, value in {**FAST, **options}.items():
            arguments.append(f"--{name.replace('_', '-')}={value}")
        self._process = subprocess.Popen(arguments, stderr=subprocess.PIPE, env={**os.environ})

    async def url(self) -> str:
        assert self._process.stderr is not None
        line = await asyncio.to_thread(self._process.stderr.readline)
        ready = msgspec.json.decode(line)
        assert ready["event"] == "simulator.ready", ready
        return str(ready["url"])

    def kill(self) -> None:
        self.end(signal.SIGKILL)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send the signal; return the exit status."""
        self._process.send_signal(number)
        status = self._process.wait(WAIT_SECONDS_MAX)
        assert self._process.stderr is not None
        self._process.stderr.close()
        return status

    def __enter__(self) -> "SimulatorProcess":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
