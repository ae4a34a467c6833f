"""Where the API is and which key opens it: options, then the environment, then the stack that `ovnpay up` runs here."""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from shared.cli.client.errors import UsageError

URL_VARIABLE: Final = "OVNPAY_API_URL"
KEY_VARIABLE: Final = "OVNPAY_API_KEY"
HOME_VARIABLE: Final = "OVNPAY_HOME"


@dataclass(frozen=True)
class Connection:
    """An API and the key to it, which is never printed."""

    url: str
    key: str = field(repr=False)

    @property
    def mode(self) -> str:
        """Whose money it is: `production` or `sandbox`, by the key's prefix."""
        return "production" if self.key.startswith("ovnp_prod_") else "sandbox"


def find_connection(url: str | None, key: str | None, environ: Mapping[str, str], folder: Path) -> Connection:
    """The connection that these options and this environment mean.

    The key of a local stack is used with that stack alone: it is not sent to a URL that was given.

    Raises:
        Misused: one of the two is missing or can't be used.

    """
    stack = _stack(folder / (environ.get(HOME_VARIABLE) or ".ovnpay"))
    given_url = url or environ.get(URL_VARIABLE)
    given_key = key or environ.get(KEY_VARIABLE) or _from_file(environ.get(f"{KEY_VARIABLE}_FILE"))
    found_url = given_url or stack.get("gateway")
    found_key = given_key or (stack.get("sandbox_key") if not given_url else None)
    if not found_url:
        raise UsageError(f"Where is the API? Give --url or {URL_VARIABLE}, as in https://pay.example.com")
    if not found_key:
        raise UsageError(f"Give an API key: --key, {KEY_VARIABLE}, or {KEY_VARIABLE}_FILE with the path of a file")
    found_key = str(found_key).strip()
    if not found_key.isascii() or not found_key.isprintable() or " " in found_key:
        raise UsageError("That is no API key: it contains characters that no key has")
    return Connection(_checked(str(found_url)), found_key)


def _checked(text: str) -> str:
    """The URL without what is the API's own; one that would show the key to the network is refused."""
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment or "@" in parts.netloc:
        raise UsageError("The API's URL must look like https://pay.example.com")
    if parts.scheme == "http" and not _is_here(host):
        raise UsageError(f"http:// would send the key to {host} unencrypted; use https://")
    path = parts.path.rstrip("/").removesuffix("/api/v1")
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{f':{port}' if port else ''}{path}"


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _from_file(path: str | None) -> str | None:
    if not path:
        return None
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError) as error:
        raise UsageError(f"The key's file {path} can't be read: {type(error).__name__}") from None


def _stack(home: Path) -> dict[str, Any]:
    try:
        content = json.loads((home / "stack.json").read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
