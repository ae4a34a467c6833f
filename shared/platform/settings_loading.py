"""Loads the settings from the environment or from files, and refuses unsafe ones in production."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from shared.platform.settings import VARIABLE_PREFIX, Settings, SettingsError
from shared.platform.settings_validation import production_errors


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Load and check the settings; raises SettingsError, which names the variable."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    for name, kind in get_type_hints(Settings).items():
        variable = VARIABLE_PREFIX + name.upper()
        text = environ.get(variable)
        if text is None and (path := environ.get(f"{variable}_FILE")):
            try:
                text = Path(path).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                # The value may be the secret itself, put where the name of its file belongs.
                shown = path if path.startswith(("/", "./", "../", "~")) else "something that is not a path"
                why = error.strerror if isinstance(error, OSError) else "it is not text"
                raise SettingsError(f"{variable}_FILE names {shown}, which can't be read: {why}") from None
        if text is None:
            continue
        try:
            values[name] = msgspec.convert(text, kind, strict=False)
        except msgspec.ValidationError:
            raise SettingsError(f"{variable} must be of type {kind.__name__}") from None
    for name in ("database_url", "redis_url"):
        if name not in values:
            raise SettingsError(f"{VARIABLE_PREFIX}{name.upper()} is not set; `ovnpay up` sets it for a local system")
    settings = Settings(**values)
    if settings.environment == "production":
        for error_text in production_errors(settings):
            raise SettingsError(error_text)
    return settings
