"""Security headers for browsers, on responses of all kinds."""

from urllib.request import urlopen

import pytest

from gateway.http.envelope import PRODUCTION_HEADERS, SECURITY_HEADERS, security_headers
from tests.contract.callers import ask
from tests.support.customer import Customer
from tests.support.raw_http import exchange, request
from tests.support.stack import Stack

JSON = ("Content-Type", b"application/json")
KINDS = {
    "root": (302, request("GET", b"/")),
    "health": (200, request("GET", b"/health")),
    "OpenAPI document": (200, request("GET", b"/openapi.json")),
    "an answer": (200, request("GET", b"/api/v1/balance", [("Authorization", b"{key}")])),
    "no credential": (401, request("GET", b"/api/v1/balance")),
    "no such path": (404, request("GET", b"/nowhere")),
    "no such id": (404, request("GET", b"/api/v1/payouts/x", [("Authorization", b"{key}")])),
    "another method": (405, request("PUT", b"/api/v1/balance")),
    "invalid JSON": (400, request("POST", b"/api/v1/payouts", [("Authorization", b"{key}"), JSON], b"{")),
    "a body too large": (413, request("POST", b"/api/v1/auth/login", [JSON, ("Content-Length", b"99999999")])),
    "no JSON": (415, request("POST", b"/api/v1/auth/login", [("Content-Type", b"text/plain")], b"x")),
    "a bad signature": (401, request("POST", b"/api/v1/webhooks/paystream", [JSON], b"{}")),
    "rate limited": (
        429,
        request("GET", b"/api/v1/balance", [("Authorization", b"{key}"), ("X-Sandbox-Scenario", b"rate_limited")]),
    ),
    "another protocol": (400, b"GET /health HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: nonsense\r\n\r\n"),
    "no HTTP at all": (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
    "a header too long": (400, b"GET /health HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 9_000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_response_has_the_security_headers(stack: Stack, customer: Customer, kind: str) -> None:
    status, raw = KINDS[kind]
    key = customer.headers["Authorization"].encode()

    answer = exchange(stack["gateway"], [raw.replace(b"{key}", key)], 5)

    assert answer.status == status, answer
    assert {name: answer.headers.get(name.lower()) for name in SECURITY_HEADERS} == dict(SECURITY_HEADERS)
    assert not {name.lower() for name in PRODUCTION_HEADERS} & answer.headers.keys()


def test_documentation_has_its_own_content_security_policy(stack: Stack) -> None:
    page, style = (ask(stack["gateway"], "GET", path) for path in ("/docs", "/docs/swagger-ui.css"))

    assert page.headers["Content-Security-Policy"].startswith("default-src 'self'; ")
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert style.headers["Cache-Control"] == "public, max-age=86400"
    for answer in (page, style):
        own = {"Content-Security-Policy", "Cache-Control"}
        assert {name: answer.headers[name] for name in SECURITY_HEADERS if name not in own} == {
            name: value for name, value in SECURITY_HEADERS.items() if name not in own
        }


def test_metrics_ports_reveal_no_software_version(stack: Stack) -> None:
    for url in stack["metrics"].values():
        with urlopen(url) as answer:
            assert answer.headers["Server"] == "OVN Pay"


def test_https_is_enforced_in_production_only() -> None:
    assert security_headers("development") == SECURITY_HEADERS
    assert security_headers("production") == {**SECURITY_HEADERS, **PRODUCTION_HEADERS}
