"""Check the settings of this process."""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final

from shared.operations.doctor.finding import Finding, fail, ok, warn
from shared.platform.failpoints import FAILPOINT_VARIABLE
from shared.platform.settings import VARIABLE_PREFIX, Settings
from shared.platform.settings_validation import production_warnings

_OTHERS: Final = "API_KEY API_URL BOOTSTRAP HOME SECRETS VERSION SUPERVISED_BY POSTGRES_PORT VALKEY_PORT PORT"
COMMAND_VARIABLES: Final = {VARIABLE_PREFIX + name for name in _OTHERS.split()}
"""Variables of commands and of `ovnpay up`, not settings of a service."""
FREE_DISK_SHARE_MIN: Final = 0.05
REQUIRED_SECRETS: Final = {
    "key_pepper": "make one with `openssl rand -hex 32` before the first API key is created: keys are hashed with it",
    "paystream_webhook_secret": "take it from Paystream's dashboard; until then every webhook of Paystream is rejected",
}


def check_configuration(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Check settings that load but are weak, missing or misspelled."""
    if settings.environment == "production":
        yield ok("settings", "valid for production")
    else:
        yield ok("settings", "valid; this is a development installation, without real money")
    for warning in production_warnings(settings) if settings.environment == "production" else ():
        yield warn("settings", warning, "set a password for Redis, or make sure that only OVN Pay can reach it")
    for name, remedy in REQUIRED_SECRETS.items():
        if not getattr(settings, name):
            yield fail("settings", f"{VARIABLE_PREFIX}{name.upper()} is not set", remedy)
    known = {VARIABLE_PREFIX + name.upper() for name in Settings.__struct_fields__} | COMMAND_VARIABLES
    for variable in sorted(environ):
        name = variable.removesuffix("_FILE")
        if variable == FAILPOINT_VARIABLE:
            yield fail("settings", f"{variable} is set: it injects faults for tests", f"unset {variable}")
        elif variable.startswith(VARIABLE_PREFIX) and name not in known:
            near = get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}?" if near else f"unset {variable}; deploy/README.md lists the settings"
            yield warn("settings", f"{variable} is set, but there is no such setting", remedy)
    folder = tempfile.gettempdir()
    disk = shutil.disk_usage(folder)
    if disk.free < disk.total * FREE_DISK_SHARE_MIN:
        message = f"{folder} has {disk.free / 1e6:.0f} MB free; workers crash when they can't write their metrics there"
        yield warn("disk", message, "free some space, or set TMPDIR to another folder")
