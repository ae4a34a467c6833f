"""Check invariants slice by slice, each in a short transaction with one snapshot.

A snapshot makes a check correct while money moves; a short transaction does not hold vacuum back.
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
"""Violations of an invariant that are kept; more would not change what has to be done."""


class CheckResult(NamedTuple):
    """The result of checking one invariant."""

    name: str
    description: str
    checked: int
    """Number of rows checked."""
    seconds: float
    violations: list[Violation]
    """At most `VIOLATIONS_MAX`."""


@contextmanager
def snapshot_transaction(engine: sa.Engine) -> Iterator[sa.Connection]:
    """Open a read-only REPEATABLE READ transaction whose statements may take 30 minutes."""
    with engine.execution_options(isolation_level="REPEATABLE READ").connect() as connection, connection.begin():
        connection.execute(sa.text("SET TRANSACTION READ ONLY; SET LOCAL statement_timeout = '30min'"))
        yield connection


def snapshot_time(connection: sa.Connection) -> datetime:
    now: datetime = connection.execute(sa.text("SELECT clock_timestamp()")).scalar_one()
    return now


def check_invariants(
    engine: sa.Engine,
    invariants: Sequence[Invariant],
    wallets: Sequence[uuid.UUID] | None = None,
    progress: Callable[[str, int], None] = lambda subject, checked: None,
) -> list[CheckResult]:
    """Check invariants for all rows, or those of some wallets; report progress after each slice."""
    checked = {invariant.name: 0 for invariant in invariants}
    seconds = {invariant.name: 0.0 for invariant in invariants}
    found: dict[str, list[Violation]] = {invariant.name: [] for invariant in invariants}
    for subject in dict.fromkeys(invariant.subject for invariant in invariants):
        done = 0
        for keys, connection in _slices(engine, subject, wallets):
            key_slice = KeySlice(keys, snapshot_time(connection))
            for invariant in (one for one in invariants if one.subject is subject):
                started, name = time.monotonic(), invariant.name
                violations = invariant.violations(connection, key_slice)
                seconds[name] += time.monotonic() - started
                checked[name] += len(keys)
                found[name] += violations[: VIOLATIONS_MAX - len(found[name])]
            done += len(keys)
            progress(subject.name, done)
    return [
        CheckResult(one.name, one.description, checked[one.name], seconds[one.name], found[one.name])
        for one in invariants
    ]


def _slices(
    engine: sa.Engine, subject: Subject, wallets: Sequence[uuid.UUID] | None
) -> Iterator[tuple[Sequence[Any], sa.Connection]]:
    after: str | None = None
    while True:
        with snapshot_transaction(engine) as connection:
            keys, after = subject.page(connection, after, subject.slice_size, wallets)
            if keys:
                yield keys, connection
        if after is None:
            return
