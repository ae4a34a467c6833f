"""`ovnpay listen`: prints events and forwards them to a local program with the body and headers of a webhook."""

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
from shared.cli.client.command_runner import AccessOptions, run_async_command
from shared.cli.client.errors import UsageError
from shared.cli.client.formatting import format_money
from shared.cli.client.output import Output

PREFIX: Final = "whsec_"
WAIT_SECONDS: Final = 20
TIMEOUT: Final = aiohttp.ClientTimeout(total=15, connect=5)
"""Timeouts of a real webhook."""


def run_listen(access: AccessOptions, forward: str | None, types: str | None, secret: str | None) -> int:
    """Run until interrupted."""

    async def listen(api: ApiClient, out: Output) -> int:
        await EventListener(api, out, _check_forward_url(forward), types, _check_secret(secret)).run()
        return 0

    return run_async_command(access, listen)


class EventListener:
    """Prints and forwards events."""

    def __init__(self, api: ApiClient, out: Output, forward: str | None, types: str | None, secret: str) -> None:
        self._api, self._out, self._forward, self._secret = api, out, forward, secret
        self._filters = {} if types is None else {"types": types}

    async def run(self) -> None:
        """Start at the end of the feed and run until interrupted."""
        position = (await self._api.get_events(limit=1, **self._filters))["after"]
        self._out.info(f"listening to the {self._api.connection.mode} wallet of {self._api.connection.url}")
        if self._forward is not None:
            self._out.info(f"forwarding to {self._forward}, signed with {self._secret}")
        async with aiohttp.ClientSession(timeout=TIMEOUT, cookie_jar=aiohttp.DummyCookieJar()) as session:
            while True:
                page = await self._api.get_events(after=position, wait=WAIT_SECONDS, limit=100, **self._filters)
                for event in page["items"]:
                    await self._handle_event(session, event)
                position = page["after"]

    async def _handle_event(self, session: aiohttp.ClientSession, event: Json) -> None:
        if self._out.as_json:
            print(json.dumps(event, ensure_ascii=False), flush=True)
        else:
            at = datetime.fromisoformat(event["createdAt"]).astimezone()
            self._out.print_line(f"{at:%H:%M:%S}  {event['type']:18}  {event['id']}  {_describe_data(event['data'])}")
        if self._forward is not None:
            self._out.info(f"{event['type']} {event['id']}: {await self._post(session, self._forward, event)}")

    async def _post(self, session: aiohttp.ClientSession, url: str, event: Json) -> str:
        body = json.dumps(event, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json", "User-Agent": "OVNPay-Webhooks/1.0"}
        headers |= signature_headers(self._secret, event["id"], body, int(time.time()))
        started = time.monotonic()
        try:
            async with session.post(url, data=body, headers=headers, allow_redirects=False) as response:
                status = response.status
        except (aiohttp.ClientError, OSError) as error:
            return f"not delivered ({type(error).__name__}); a real webhook would be retried"
        duration = f"{(time.monotonic() - started) * 1000:.0f} ms"
        retry = "" if 200 <= status < 300 else "; a real webhook would be retried"
        return f"response {status} after {duration}{retry}"


def signature_headers(secret: str, event_id: str, body: bytes, at_seconds: int) -> dict[str, str]:
    """Return the signature headers of a webhook."""
    ours = hmac.digest(secret.encode(), f"{at_seconds}.".encode() + body, hashlib.sha256)
    key = base64.b64decode(secret.removeprefix(PREFIX))
    standard = hmac.digest(key, f"{event_id}.{at_seconds}.".encode() + body, hashlib.sha256)
    return {
        "X-Signature": f"t={at_seconds},v1={ours.hex()}",
        "webhook-id": event_id,
        "webhook-timestamp": str(at_seconds),
        "webhook-signature": f"v1,{base64.b64encode(standard).decode()}",
    }


def _describe_data(data: Json) -> str:
    cents = next(
        (data[name] for name in ("amount", "totalAmount", "available") if isinstance(data.get(name), int)), None
    )
    name = data.get("driverName") or data.get("name")
    object_id = data.get("id") or data.get("transactionId")
    parts = (object_id, name, None if cents is None else format_money(cents))
    return "  ".join(str(part) for part in parts if part is not None)


def _check_forward_url(forward: str | None) -> str | None:
    if forward is None:
        return None
    try:
        parts = urlsplit(forward)
        is_valid = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        is_valid = False
    if not is_valid:
        raise UsageError("--forward must look like http://localhost:3000/hook")
    return forward


def _check_secret(secret: str | None) -> str:
    if secret is None:
        return PREFIX + base64.b64encode(os.urandom(32)).decode()
    try:
        key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except ValueError:
        key = b""
    if not secret.startswith(PREFIX) or not 16 <= len(key) <= 128:
        raise UsageError("--secret must be whsec_ followed by 16 to 128 bytes in base64")
    return secret
