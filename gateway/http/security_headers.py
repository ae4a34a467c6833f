"""Which headers does every answer carry, whatever it is about? Those that tell a browser to do nothing with it.

The API is for programs: an answer of it that lands in a browser is neither run, framed, guessed at, kept, nor read by
another site. The documentation's page has a policy of its own.
"""

from collections.abc import Mapping
from typing import Final

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Server": "OVN Pay",  # or aiohttp names itself, Python, and the versions of both
}

PRODUCTION_HEADERS: Final[Mapping[str, str]] = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}
"""In production alone: a developer's browser would refuse http://localhost for a year."""


def response_headers(environment: str) -> Mapping[str, str]:
    """The headers of every answer there; a handler's own value wins."""
    return {**SECURITY_HEADERS, **PRODUCTION_HEADERS} if environment == "production" else SECURITY_HEADERS
