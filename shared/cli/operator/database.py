"""The database connection of operator commands."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from shared.cli.operator.settings import load_operator_settings
from shared.platform.database import DatabaseNotReady, make_engine, wait_for_database
from shared.platform.settings import Settings


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
