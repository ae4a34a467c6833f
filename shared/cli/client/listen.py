"""`ovnpay listen`: prints each event of the wallet as it happens, and forwards it, signed, to a program on a laptop.

The program sees what a webhook would send: the same body, the same headers. Nothing has to be reachable from outside.
"""

import base64
import hashlib
import hmac
import json
import os
import time
from datetime import datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from shared.cli.client.api import ApiClient, Json
from shared.cli.client.cells import format_money
from shared.cli.client.command_runner import AccessOptions, run_async_command
from shared.cli.client.errors import UsageError
from shared.cli.client.output import Output

PREFIX: Final = "whsec_"
WAIT_SECONDS: Final = 20
TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5)
"""As for a webhook."""


def run_listen(access: AccessOptions, forward: str | None, types: str | None, secret: str | None) -> int:
    """Runs the command until it is interrupted; returns its exit code."""

    async def listening(api: ApiClient, out: Output) -> int:
        await EventListener(api, out, _checked(forward), types, _key(secret)).run()
        return 0

    return run_async_command(access, listening)


class EventListener:
    """One run of the command."""

    def __init__(self, api: ApiClient, out: Output, forward: str | None, types: str | None, secret: str) -> None:
        self._api, self._out, self._forward, self._secret = api, out, forward, secret
        self._filters = {} if types is None else {"types": types}

    async def run(self) -> None:
        """Listens until it is interrupted."""
        place = (await self._api.events(limit=1, **self._filters))["after"]
        self._out.say(f"listening to the {self._api.connection.mode} wallet of {self._api.connection.url}")
        if self._forward is not None:
            self._out.say(f"forwarding to {self._forward}, signed with {self._secret}")
        async with aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                part = await self._api.events(after=place, wait=WAIT_SECONDS, limit=100, **self._filters)
                for event in part["items"]:
                    await self._tell(session, event)
                place = part["after"]

    async def _tell(self, session: aiohttp.ClientSession, event: Json) -> None:
        if self._out.as_json:
            print(json.dumps(event, ensure_ascii=False), flush=True)
        else:
            moment = datetime.fromisoformat(event["createdAt"]).astimezone()
            self._out.line(f"{moment:%H:%M:%S}  {event['type']:18}  {event['id']}  {_about(event['data'])}")
        if self._forward is not None:
            self._out.say(f"{event['type']} {event['id']}: {await self._post(session, self._forward, event)}")

    async def _post(self, session: aiohttp.ClientSession, url: str, event: Json) -> str:
        body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "OVNPay-Webhooks/1.0"}
        headers |= signature_headers(self._secret, event["id"], body, int(time.time()))
        started = time.monotonic()
        try:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, OSError) as error:
            return f"not forwarded ({type(error).__name__}); as a webhook it would be tried again"
        took = f"{(time.monotonic() - started) * 1000:.0f} ms"
        verdict = "" if 200 <= status < 300 else "; as a webhook it would be tried again"
        return f"answered {status} after {took}{verdict}"


def signature_headers(secret: str, event_id: str, body: bytes, at_seconds: int) -> dict[str, str]:
    """The headers that a webhook would have."""
    plain = hmac.digest(secret.encode(), f"{at_seconds}.".encode() + body, hashlib.sha256)
    key = base64.b64decode(secret.removeprefix(PREFIX))
    standard = hmac.digest(key, f"{event_id}.{at_seconds}.".encode() + body, hashlib.sha256)
    return {
        "X-Signature": f"t={at_seconds},v1={plain.hex()}",
        "webhook-id": event_id,
        "webhook-timestamp": str(at_seconds),
        "webhook-signature": f"v1,{base64.b64encode(standard).decode()}",
    }


def _about(data: Json) -> str:
    """What an event is about, in a few words."""
    cents = next(
        (data[name] for name in ("amount", "totalAmount", "available") if isinstance(data.get(name), int)), None
    )
    name = data.get("driverName") or data.get("name")
    about = data.get("id") or data.get("transactionId")
    shown = (about, name, None if cents is None else format_money(cents))
    return "  ".join(str(part) for part in shown if part is not None)


def _checked(forward: str | None) -> str | None:
    if forward is None:
        return None
    try:
        parts = urlsplit(forward)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        fine = False
    if not fine:
        raise UsageError("--forward must look like http://localhost:3000/hook")
    return forward


def _key(secret: str | None) -> str:
    """The secret to sign with: the one given, or another for each run."""
    if secret is None:
        return PREFIX + base64.b64encode(os.urandom(32)).decode()
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(PREFIX) or not 16 <= len(key) <= 128:
        raise UsageError("--secret must be whsec_ and at least 16 bytes in base64, as a webhook's secret is")
    return secret
