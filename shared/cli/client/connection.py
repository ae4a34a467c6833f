"""API URL and key: options, else environment, else local stack."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from shared.cli.client.errors import UsageError
from shared.cli.client.local_stack import find_local_stack

URL_VARIABLE: Final = "OVNPAY_API_URL"
KEY_VARIABLE: Final = "OVNPAY_API_KEY"


@dataclass(frozen=True)
class Connection:
    """URL of an API and its key. The key is never printed."""

    url: str
    key: str = field(repr=False)

    @property
    def mode(self) -> str:
        """`production` or `sandbox`, from the key's prefix."""
        return "production" if self.key.startswith("ovnp_prod_") else "sandbox"


def find_connection(url: str | None, key: str | None, environ: Mapping[str, str], folder: Path) -> Connection:
    """Return URL and key; the key of the local stack is never sent to another URL.

    Raises:
        UsageError: URL or key is missing or invalid.

    """
    stack = find_local_stack(environ, folder)
    local = stack.description if stack else {}
    given_url = url or environ.get(URL_VARIABLE)
    given_key = key or environ.get(KEY_VARIABLE) or _read_key_file(environ.get(f"{KEY_VARIABLE}_FILE"))
    api_url = given_url or local.get("gateway")
    api_key = given_key or (local.get("sandbox_key") if not given_url else None)
    if not api_url:
        raise UsageError(
            f"No API URL: no local stack runs here (start one with `ovnpay up`). Set --url or {URL_VARIABLE}, "
            "for example https://pay.example.com"
        )
    if not api_key:
        raise UsageError(f"No API key: set --key, {KEY_VARIABLE}, or {KEY_VARIABLE}_FILE to the path of a file")
    api_key = str(api_key).strip()
    if not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise UsageError("The API key contains characters that no key has")
    return Connection(_normalize_url(str(api_url)), api_key)


def _normalize_url(text: str) -> str:
    """Return the URL without `/api/v1`; reject one that would send the key unencrypted."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError("The API's URL must look like https://pay.example.com")
    if parts.scheme == "http" and not _is_loopback(host):
        raise UsageError(f"http:// would send the key to {host} unencrypted; use https://")
    path = parts.path.rstrip("/").removesuffix("/api/v1")
    bracketed = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{bracketed}{f':{port}' if port else ''}{path}"


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _read_key_file(path: str | None) -> str | None:
    if not path:
        return None
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"The key file {path} can't be read: {type(error).__name__}") from None
