"""Webhooks with invalid signatures or bodies, and valid ones, each with the response it must get.

The bodies are about a processing payment. Invalid ones say that it failed, valid ones that it is processing: in the end
nothing may have changed.
"""

import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.contract.bad_input import MIB
from tests.support.stack import PREVIOUS_WEBHOOK_SECRET

WRONG_SECRET = "whsec_guessed"


@dataclass(frozen=True)
class Webhook:
    """One request. `headers` are the values of `X-Signature`."""

    name: str
    status: int
    headers: tuple[str, ...]
    body: bytes
    code: str = ""
    more: tuple[tuple[str, bytes], ...] = ()


def digest(secret: str, signed: bytes, hashed: Callable[..., Any] = hashlib.sha256) -> str:
    """Return the hex HMAC of bytes."""
    return hmac.new(secret.encode(), signed, hashed).hexdigest()


class WebhookCases:
    """All cases for the secret and a payment of a running system."""

    def __init__(self, secret: str, payment_id: str) -> None:
        self.secret = secret
        self.payment_id = payment_id
        self.now = int(time.time())

    def body(self, state: str = "failed", **more: Any) -> bytes:
        """Return the body of an event with a new id."""
        data = {"paymentId": self.payment_id, "amount": 44_750, "status": state}
        return json.dumps({"id": f"evt_{uuid.uuid4().hex}", "type": f"payment.{state}", "data": data} | more).encode()

    def v1(self, body: bytes, secret: str | None = None, at: int | None = None) -> str:
        """Return the signature part of the header."""
        return f"v1={digest(secret or self.secret, b'%d.' % (self.now if at is None else at) + body)}"

    def header(self, body: bytes, secret: str | None = None, age_seconds: int = 0) -> str:
        """Return the valid header."""
        at = self.now - age_seconds
        return f"t={at},{self.v1(body, secret, at)}"

    def all(self) -> Iterator[Webhook]:
        """Yield every case."""
        yield from (Webhook(f"rejected: {one.name}", *_rest(one, "INVALID_SIGNATURE")) for one in self.forged())
        yield from (Webhook(f"accepted: {one.name}", *_rest(one, "")) for one in self.accepted())
        yield from self.signed_invalid_events()

    def forged(self) -> Iterator[Webhook]:
        """Yield webhooks without a valid signature."""
        body = self.body()
        t, v1, wrong = f"t={self.now}", self.v1(body), f"v1={'0' * 64}"
        right, sha1 = f"{t},{v1}", digest(self.secret, f"{self.now}.".encode() + body, hashlib.sha1)
        tampered = body.replace(b"44750", b"44751")
        headers: dict[str, tuple[str, ...]] = {
            "no header": (),
            "an empty header": ("",),
            "garbage": ("garbage",),
            "as the reference's body has it": ("t=1234567890,v1 signature_here",),
            "no time": (v1,),
            "no digest": (t,),
            "half a digest": (f"{t},{v1[:35]}",),
            "a digest and more": (f"{right}00",),
            "the digest first": (f"{v1},{t}",),
            "two times": (f"{t},{t},{v1}",),
            "a minus before the time": (f"t=-{self.now},{v1}",),
            "another scheme beside it": (f"{right},v0={v1[3:]}",),
            "two headers": (right, right),
            "a right one and a wrong one in two headers": (right, f"{t},{wrong}"),
            "SHA-1": (f"{t},v1={sha1}",),
            "SHA-256 without a key": (f"{t},v1={hashlib.sha256(f'{self.now}.'.encode() + body).hexdigest()}",),
            "the body signed without its time": (f"{t},v1={digest(self.secret, body)}",),
            "of another secret": (self.header(body, WRONG_SECRET),),
            "of an empty secret": (f"{t},v1={digest('', f'{self.now}.'.encode() + body)}",),
            "400 s old": (self.header(body, age_seconds=400),),
            "400 s ahead": (self.header(body, age_seconds=-400),),
            "of the year 1970": (self.header(body, age_seconds=self.now),),
            "its time moved by a second": (f"t={self.now + 1},{v1}",),
            "its time with a zero before it": (f"t=0{self.now},{v1}",),
            "of another body": (self.header(self.body()),),
            "two digests, none right": (f"{t},{wrong},{self.v1(body, WRONG_SECRET)}",),
            "six digests, the last right": (f"{t}" + f",{wrong}" * 5 + f",{v1}",),
        }
        yield from (Webhook(name, 401, values, body) for name, values in headers.items())
        yield Webhook("one byte of the body changed", 401, (right,), tampered)
        yield Webhook("the same JSON with a space more", 401, (right,), body + b" ")
        yield Webhook("its signature only in the body", 401, (), self.body(signature=right))

    def accepted(self) -> Iterator[Webhook]:
        """Yield valid webhooks."""
        body = self.body("processing")
        t, v1, wrong = f"t={self.now}", self.v1(body), f"v1={'f' * 64}"
        headers = {
            "signed as documented": f"{t},{v1}",
            "the same to the byte once more": f"{t},{v1}",
            "the same, signed anew": self.header(body, age_seconds=7),
            "200 s old": self.header(body, age_seconds=200),
            "200 s ahead": self.header(body, age_seconds=-200),
            "two digests, the second right": f"{t},{wrong},{v1}",
            "two digests, of two secrets": f"{t},{v1},{self.v1(body, PREVIOUS_WEBHOOK_SECRET)}",
            "upper-case hex": f"{t},v1={v1[3:].upper()}",
            "spaces": f" {t} ,  {v1} ",
            "of the previous secret": self.header(body, PREVIOUS_WEBHOOK_SECRET),
        }
        yield from (Webhook(name, 200, (value,), body) for name, value in headers.items())

    def signed_invalid_events(self) -> Iterator[Webhook]:
        """Yield signed bodies that are not a valid event."""
        fine = self.body()
        bodies = {
            "nothing": b"",
            "no JSON": b'{"event": ',
            "an array": b"[]",
            "Latin-1": fine.replace(b"evt_", b"\xe9vt_"),
            "UTF-16": fine.decode().encode("utf-16"),
            "a key twice": fine.replace(b'"amount": 44750', b'"amount": 1, "amount": 44750'),
            "NaN": fine.replace(b"44750", b"NaN"),
            "Infinity": fine.replace(b"44750", b"-Infinity"),
            "half a cent": fine.replace(b"44750", b"44750.5"),
            "more cents than there are": fine.replace(b"44750", b"9" * 30),
            "an amount in quotes": fine.replace(b"44750", b'"44750"'),
            "NUL in a text": fine.replace(b"evt_", b"evt\\u0000_"),
            "half a surrogate pair": fine.replace(b"evt_", b"evt\\ud800_"),
            "an id of 300 characters": fine.replace(b"evt_", b"e" * 300),
            "nested 100,000 deep": b'{"type": "payment.failed", "data": ' + b"[" * 100_000,
            "no payment": b'{"id": "evt_1", "type": "payment.failed", "data": {}}',
        }
        for name, body in bodies.items():
            yield Webhook(f"signed: {name}", 400, (self.header(body),), body)
        yield Webhook("signed: a megabyte and a byte", 413, (self.header(huge := b" " * (MIB + 1)),), huge)
        gzip = (("Content-Encoding", b"gzip"),)
        yield Webhook("signed: compressed", 415, (self.header(fine),), fine, more=gzip)


def _rest(one: Webhook, code: str) -> tuple[Any, ...]:
    return one.status, one.headers, one.body, code, one.more


NAMES = [one.name for one in WebhookCases("any", "any").all()]
