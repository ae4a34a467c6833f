"""Is this process configured as the services must be?"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from shared.operations.doctor.finding import Finding, fail, ok, warn
from shared.platform.settings import VARIABLE_PREFIX, Settings
from shared.platform.settings_validation import production_warnings

_OTHERS: Final = "API_KEY API_URL BOOTSTRAP HOME SECRETS VERSION SUPERVISED_BY POSTGRES_PORT VALKEY_PORT PORT"
COMMAND_VARIABLES: Final = {VARIABLE_PREFIX + name for name in _OTHERS.split()}
"""Variables of the commands and of `ovnpay up`, which are no settings of a service."""
TEST_SWITCHES: Final = {"OVNPAY_FAILPOINT", "OVNPAY_WITHOUT"}
"""What our own tests break things with."""
FREE_DISK_SHARE_MIN: Final = 0.05
REQUIRED_SECRETS: Final = {
    "key_pepper": "API keys are hashed without a secret: make one with `openssl rand -hex 32`, before the first key",
    "paystream_webhook_secret": "every webhook of Paystream's is refused: take the secret from its dashboard",
}


def check_configuration(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """What the settings say, beyond that they could be read."""
    if settings.environment == "production":
        yield ok("settings", "they can be read, and are good enough for production")
    else:
        yield ok("settings", "they can be read; this is a development installation, which pays no real money")
    for doubt in production_warnings(settings) if settings.environment == "production" else ():
        yield warn("settings", doubt, "give Redis a password, or be sure that nobody else reaches it")
    for name, effect in REQUIRED_SECRETS.items():
        if not getattr(settings, name):
            yield fail("settings", f"{VARIABLE_PREFIX}{name.upper()} is not set", effect)
    known = {VARIABLE_PREFIX + name.upper() for name in Settings.__struct_fields__} | COMMAND_VARIABLES
    for variable in sorted(environ):
        name = variable.removesuffix("_FILE")
        if variable in TEST_SWITCHES:
            yield fail("settings", f"{variable} is set: it switches a safeguard off, or kills processes", "remove it")
        elif variable.startswith(VARIABLE_PREFIX) and name not in known:
            near = get_close_matches(name, known, 1)
            mend = (
                f"did you mean {near[0]}?"
                if near
                else "remove it, or see shared/platform/settings.py for what there is"
            )
            yield warn("settings", f"{variable} is set, and is no setting: it has no effect", mend)
    place = tempfile.gettempdir()
    disk = shutil.disk_usage(place)
    if disk.free < disk.total * FREE_DISK_SHARE_MIN:
        says = f"{place} has {disk.free / 1e6:.0f} MB free: workers keep their counts there, and die without"
        yield warn("disk", says, "make room, or name another folder by TMPDIR")
