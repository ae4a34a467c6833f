"""Check that Paystream answers and accepts our key of each mode."""

import http.client
import ssl
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

from shared.operations.doctor.finding import Finding, fail, ok, warn
from shared.platform.settings import Settings

TIMEOUT_SECONDS: Final = 5.0
KEY_SETTINGS: Final = {"sandbox": "paystream_test_key", "production": "paystream_live_key"}


def check_provider(settings: Settings) -> Iterator[Finding]:
    """Read the balance once with each key; each costs one call of the hourly limit."""
    for mode, name in KEY_SETTINGS.items():
        part, variable, key = f"paystream: {mode}", f"OVNPAY_{name.upper()}", getattr(settings, name)
        if not key:
            remedy = f"set {variable} to the key in Paystream's dashboard"
            yield warn(part, f"{variable} is not set: {mode} wallets can't pay", remedy)
            continue
        try:
            status = _status(settings.paystream_url, key)
        except (OSError, http.client.HTTPException) as error:
            message = f"it does not answer ({type(error).__name__})"
            remedy = "check OVNPAY_PAYSTREAM_URL, the network and Paystream's status page; payouts wait meanwhile"
            yield fail(part, message, remedy)
            continue
        if status == 200:
            yield ok(part, "it answers and accepts our key")
        elif status in (401, 403):
            yield fail(part, f"it rejects our key ({status})", f"set {variable} to the key in Paystream's dashboard")
        elif status == 429:
            yield warn(part, "our call limit is used up", "wait; payouts go out as the limit frees up")
        else:
            yield warn(part, f"it answers with status {status}", "check Paystream's status page")


def _status(url: str, key: str) -> int:
    address = urlsplit(url)
    host, port = address.hostname or "", address.port
    connection: http.client.HTTPConnection
    if address.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        path = f"{address.path.rstrip('/')}/api/v1/balance/summary"
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}", "Accept": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()
