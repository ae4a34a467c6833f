"""Webhooks to the inbound endpoint of OVN Pay, signed as Paystream signs them.

`X-Signature: t={unix seconds},v1={hex HMAC-SHA256(secret, "{t}.{raw body}")}`
"""

import hashlib
import hmac
import json
import time
from typing import Any

from tests.support.http_client import Answer, call

PATH = "/api/v1/webhooks/paystream"


def signature(body: bytes, secret: str, age_seconds: int = 0) -> str:
    at = int(time.time()) - age_seconds
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def send(url: str, body: bytes, x_signature: str | None) -> Answer:
    headers = {"Content-Type": "application/json"} | ({"X-Signature": x_signature} if x_signature else {})
    return call(url, "POST", PATH, body, headers)


def send_signed(url: str, event: Any, secret: str) -> Answer:
    body = json.dumps(event).encode()
    return send(url, body, signature(body, secret))
