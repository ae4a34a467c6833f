"""Does Paystream answer, and does it take our key of each mode?"""

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
    """Asks once with each key for the balance, which costs one of the hour's calls and moves nothing."""
    for mode, name in KEY_SETTINGS.items():
        part, variable, key = f"paystream: {mode}", f"OVNPAY_{name.upper()}", getattr(settings, name)
        if not key:
            yield warn(
                part, f"{variable} is not set: no {mode} wallet can pay", "take the key from Paystream's dashboard"
            )
            continue
        try:
            status = _status(settings.paystream_url, key)
        except (OSError, http.client.HTTPException) as error:
            says = f"it does not answer ({type(error).__name__})"
            mend = "check OVNPAY_PAYSTREAM_URL, the way out, and Paystream's own status; payouts wait meanwhile"
            yield fail(part, says, mend)
            continue
        if status == 200:
            yield ok(part, "it answers, and takes our key")
        elif status in (401, 403):
            yield fail(part, f"it refuses our key ({status})", f"set {variable} to the key in Paystream's dashboard")
        elif status == 429:
            yield warn(part, "it answers, and has had too many calls", "payouts go out as room comes back")
        else:
            yield warn(part, f"it answers with {status}", "see Paystream's own status")


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
