"""What does production refuse to start with, and what does it only doubt? Secrets that are no secrets, above all.

No sentence here repeats a value: they end in logs and terminals.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from shared.platform.settings import Settings

SECRET_LENGTH_MIN: Final = 32
PROVIDER_KEY_LENGTH_MIN: Final = 24
PASSWORD_LENGTH_MIN: Final = 12
DISTINCT_CHARACTERS_MIN: Final = 8

WELL_KNOWN_PASSWORDS: Final = frozenset(
    {"postgres", "ovnpay", "password", "passw0rd", "secret", "redis", "admin", "root"}
)
"""Passwords that examples and images come with; so is the user's own name."""

PLACEHOLDER: Final = re.compile(
    r"change.?(me|this|it)|example|placeholder|default|insecure|sample|replace.?(me|this)|your.?(secret|key|password)"
    r"|development|for.?tests?|test.?only|12345678|abcdefgh|x{6}",
    re.IGNORECASE,
)
"""What documentation and compose files put where a secret belongs."""

MAKE_ONE: Final = "make one with `openssl rand -hex 32`"
AT_PAYSTREAM: Final = "Paystream's dashboard has the right one, and makes another"
SECRETS: Final = (
    "key_pepper",
    "key_pepper_previous",
    "paystream_webhook_secret",
    "paystream_webhook_secret_previous",
)
PREVIOUS: Final = "_previous"
"""What ends so is only set while a rotation is under way."""
PROVIDER_KEYS: Final = {"paystream_test_key": "psk_test_", "paystream_live_key": "psk_live_"}


def production_errors(settings: "Settings") -> Iterator[str]:
    """Why this configuration must not serve in production, one sentence each."""
    if settings.without:
        yield "OVNPAY_WITHOUT switches off safeguards for a test, which production refuses; leave it unset"
    for name in SECRETS:
        value = getattr(settings, name)
        if name.endswith(PREVIOUS) and not value:
            continue
        if name.endswith(PREVIOUS) and value == getattr(settings, name.removesuffix(PREVIOUS)):
            yield f"{_variable(name)} is the same as the current one: that rotates nothing; unset it"
        if why := _weak(value, SECRET_LENGTH_MIN):
            yield f"{_variable(name)} {why}, which production refuses; {_remedy(name)}"
    for name, prefix in PROVIDER_KEYS.items():
        value = getattr(settings, name)
        if not value.startswith(prefix):
            yield f"{_variable(name)} is no key that begins with {prefix}, which production needs; {AT_PAYSTREAM}"
        elif why := _weak(value.removeprefix(prefix), PROVIDER_KEY_LENGTH_MIN - len(prefix)):
            yield f"{_variable(name)} {why} after {prefix}, which production refuses; {AT_PAYSTREAM}"
    for name in ("database_url", "migration_database_url", "redis_url"):
        address = urlsplit(getattr(settings, name))
        password = unquote(address.password or "")
        if password and (
            password.lower() in WELL_KNOWN_PASSWORDS | {address.username} or _weak(password, PASSWORD_LENGTH_MIN)
        ):
            yield (
                f"the password in {_variable(name)} is well known, or has fewer than {PASSWORD_LENGTH_MIN} characters, "
                f"which production refuses; {MAKE_ONE}"
            )
    if settings.failpoint:
        yield "OVNPAY_FAILPOINT is set, which production refuses: it kills a process on purpose; unset it"
    provider = urlsplit(settings.paystream_url)
    if provider.scheme != "https" and not _is_loopback(provider.hostname or ""):
        yield (
            "OVNPAY_PAYSTREAM_URL must begin with https:// in production, for the keys travel with each call; "
            "http:// is only for this machine's own addresses"
        )


def production_warnings(settings: "Settings") -> Iterator[str]:
    """What a service in production says in its log at start: it may be right, if the network sees to it."""
    if not urlsplit(settings.redis_url).password:
        yield "OVNPAY_REDIS_URL has no password: whoever reaches Redis can silence doorbells and lift rate limits"


def _weak(secret: str, length_min: int) -> str | None:
    """Why somebody could guess it."""
    if not secret:
        return "is not set"
    if len(secret) < length_min:
        return f"has fewer than {length_min} characters"
    if PLACEHOLDER.search(secret):
        return "is a placeholder and no secret"
    if len(set(secret)) < min(DISTINCT_CHARACTERS_MIN, length_min):
        return "is a few characters over and over"
    return None


def _remedy(name: str) -> str:
    return MAKE_ONE if name.startswith("key_pepper") else AT_PAYSTREAM


def _variable(name: str) -> str:
    return f"OVNPAY_{name.upper()}"


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
