"""Settings validation: errors that production refuses to start with, and warnings that it logs; mostly weak secrets.

No message repeats a value, because messages end in logs and terminals.
"""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import unquote, urlsplit

from shared.platform.settings import Settings, variable_name

SECRET_LENGTH_MIN: Final = 32
PROVIDER_KEY_LENGTH_MIN: Final = 24
PASSWORD_LENGTH_MIN: Final = 12
DISTINCT_CHARACTERS_MIN: Final = 8

WELL_KNOWN_PASSWORDS: Final = frozenset(
    {"postgres", "ovnpay", "password", "passw0rd", "secret", "redis", "admin", "root"}
)
"""Default passwords of examples and images; the user's own name counts too."""

PLACEHOLDER: Final = re.compile(
    r"change.?(me|this|it)|example|placeholder|default|insecure|sample|replace.?(me|this)|your.?(secret|key|password)"
    r"|development|for.?tests?|test.?only|12345678|abcdefgh|x{6}",
    re.IGNORECASE,
)
"""Placeholders that documentation and compose files have in place of a secret."""

GENERATE_ONE: Final = "generate one with `openssl rand -hex 32`"
FROM_PAYSTREAM: Final = "copy it from Paystream's dashboard, or create another there"
SECRETS: Final = (
    "key_pepper",
    "key_pepper_previous",
    "paystream_webhook_secret",
    "paystream_webhook_secret_previous",
)
PREVIOUS: Final = "_previous"
"""Suffix of settings that are only set during a rotation."""
PROVIDER_KEYS: Final = {"paystream_test_key": "psk_test_", "paystream_live_key": "psk_live_"}


def production_errors(settings: Settings) -> Iterator[str]:
    """Yield why this configuration must not serve in production, one sentence each."""
    for name in SECRETS:
        value = getattr(settings, name)
        if name.endswith(PREVIOUS) and not value:
            continue
        if name.endswith(PREVIOUS) and value == getattr(settings, name.removesuffix(PREVIOUS)):
            yield f"{variable_name(name)} equals the current one: unset it, or set it to the secret before the rotation"
        if why := _weak(value, SECRET_LENGTH_MIN):
            yield f"{variable_name(name)} {why}, which production refuses; {_remedy(name)}"
    for name, prefix in PROVIDER_KEYS.items():
        value = getattr(settings, name)
        if not value.startswith(prefix):
            yield f"{variable_name(name)} must begin with {prefix} in production; {FROM_PAYSTREAM}"
        elif why := _weak(value.removeprefix(prefix), PROVIDER_KEY_LENGTH_MIN - len(prefix)):
            yield f"{variable_name(name)} {why} after {prefix}, which production refuses; {FROM_PAYSTREAM}"
    for name in ("database_url", "migration_database_url", "redis_url"):
        address = urlsplit(getattr(settings, name))
        password = unquote(address.password or "")
        if password and (
            password.lower() in WELL_KNOWN_PASSWORDS | {address.username} or _weak(password, PASSWORD_LENGTH_MIN)
        ):
            yield (
                f"the password in {variable_name(name)} is a well-known one, a weak one, or shorter than "
                f"{PASSWORD_LENGTH_MIN} characters, which production refuses; {GENERATE_ONE}"
            )
    if settings.failpoint:
        yield "OVNPAY_FAILPOINT is set, which production refuses, because it kills the process; unset it"
    provider = urlsplit(settings.paystream_url)
    if provider.scheme != "https" and not _is_loopback(provider.hostname or ""):
        yield (
            "OVNPAY_PAYSTREAM_URL must begin with https:// in production, because each call carries a key; "
            "http:// is only allowed to this machine"
        )


def production_warnings(settings: Settings) -> Iterator[str]:
    """Yield what a service in production warns of at start; the network may make it safe."""
    if not urlsplit(settings.redis_url).password:
        yield "OVNPAY_REDIS_URL has no password: any client that reaches Redis can delete messages and lift rate limits"


def _weak(secret: str, length_min: int) -> str | None:
    """Return why the secret is weak, or None."""
    if not secret:
        return "is not set"
    if len(secret) < length_min:
        return f"has fewer than {length_min} characters"
    if PLACEHOLDER.search(secret):
        return "is a placeholder"
    if len(set(secret)) < min(DISTINCT_CHARACTERS_MIN, length_min):
        return "repeats a few characters"
    return None


def _remedy(name: str) -> str:
    return GENERATE_ONE if name.startswith("key_pepper") else FROM_PAYSTREAM


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
