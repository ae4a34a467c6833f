"""Proving: laws are looked at portion by portion, each in a transaction that sees one moment.

So it is right while the system works: every row that a law compares is read as it was at the same instant. And no
portion holds the database's past for longer than it takes.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.controls.invariants.invariant import Invariant, KeySlice
from shared.controls.invariants.subjects import Subject
from shared.schema.controls import Violation

VIOLATIONS_MAX: Final = 1_000
"""How many breaks of a law are kept; that there are more changes nothing in what is to be done."""


class CheckResult(NamedTuple):
    """What came of proving a law."""

    name: str
    law: str
    checked: int
    """How many rows it was looked at for."""
    seconds: float
    breaks: list[Violation]
    """At most `VIOLATIONS_MAX`."""


@contextmanager
def snapshot_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A transaction that sees one moment, reads and may take its time."""
    with engine.execution_options(isolation_level="REPEATABLE READ").connect() as connection, connection.begin():
        connection.execute(sa.text("SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = '30min'"))
        yield connection


def snapshot_time(connection: sa.Connection) -> datetime:
    """When that is, by the database's clock."""
    now: datetime = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    return now


def check_invariants(
    engine: sa.Engine,
    laws: Sequence[Invariant],
    wallets: Sequence[uuid.UUID] | None = None,
    progress: Callable[[str, int], None] = lambda subject, checked: None,
) -> list[CheckResult]:
    """Proves laws about everything, or about everything of some wallets. `progress` is told how many rows of a kind
    have been looked at so far.
    """
    checked = {one.name: 0 for one in laws}
    seconds = {one.name: 0.0 for one in laws}
    found: dict[str, list[Violation]] = {one.name: [] for one in laws}
    for subject in dict.fromkeys(one.subject for one in laws):
        about = [one for one in laws if one.subject is subject]
        done = 0
        for keys, connection in _stretches(engine, subject, wallets):
            portion = KeySlice(keys, snapshot_time(connection))
            for one in about:
                began = time.monotonic()
                breaks = one.breaks(connection, portion)
                seconds[one.name] += time.monotonic() - began
                checked[one.name] += len(keys)
                found[one.name] += breaks[: VIOLATIONS_MAX - len(found[one.name])]
            done += len(keys)
            progress(subject.name, done)
    return [CheckResult(one.name, one.law, checked[one.name], seconds[one.name], found[one.name]) for one in laws]


def _stretches(
    engine: sa.Engine, subject: Subject, wallets: Sequence[uuid.UUID] | None
) -> Iterator[tuple[Sequence[Any], sa.Connection]]:
    """All there is of a subject, each portion with the transaction that sees it."""
    after: str | None = None
    while True:
        with snapshot_transaction(engine) as connection:
            keys, after = subject.stretch(connection, after, subject.at_once, wallets)
            if keys:
                yield keys, connection
        if after is None:
            return
