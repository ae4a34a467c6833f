"""Settings and database of operator commands: from the environment, else from the local stack."""

import functools
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import sqlalchemy as sa
from rich.console import Console
from rich.text import Text

from shared.cli.client.local_stack import LocalStack, find_local_stack
from shared.platform.database import DatabaseNotReady, make_engine, wait_for_database
from shared.platform.settings import Settings, SettingsError
from shared.platform.settings_loading import load_settings

DATABASE_VARIABLE: Final = "OVNPAY_DATABASE_URL"


def load_operator_settings(*, as_owner: bool = False) -> Settings:
    """Load the settings; print what is wrong and exit with 2."""
    try:
        return load_settings(operator_environment(as_owner=as_owner))
    except SettingsError as error:
        print(f"ovnpay: {error}", file=sys.stderr)
        raise SystemExit(2) from None


def operator_environment(*, as_owner: bool = False) -> Mapping[str, str]:
    """Return the environment, completed by the local stack's settings unless it names a database."""
    if DATABASE_VARIABLE in os.environ or f"{DATABASE_VARIABLE}_FILE" in os.environ:
        return os.environ
    stack = find_local_stack(os.environ, Path.cwd())
    if stack is None or DATABASE_VARIABLE not in stack.settings:
        return os.environ
    _print_once(f"using the local stack in {stack.home}")
    return {**_unset_settings(stack, os.environ, as_owner=as_owner), **os.environ}


@functools.cache
def _print_once(line: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(Text(line, style="dim"))


def _unset_settings(stack: LocalStack, environ: Mapping[str, str], *, as_owner: bool) -> dict[str, str]:
    settings = stack.settings
    if as_owner:
        settings["OVNPAY_MIGRATION_DATABASE_URL"] = str(stack.description.get("database_url") or "")
    return {name: value for name, value in settings.items() if f"{name}_FILE" not in environ}


@contextmanager
def open_database(*, connections: int = 1) -> Iterator[tuple[Settings, sa.Engine]]:
    """Yield settings and an engine for so many connections; exit with 2 if it doesn't respond."""
    settings = load_operator_settings()
    engine = make_engine(settings, "cli", pool_size=connections)
    try:
        wait_for_database(engine, revision=None)
        yield settings, engine
    except DatabaseNotReady as error:
        print(f"ovnpay: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    finally:
        engine.dispose()
