"""Sweeps: each step checks what changed since the last one and the next slice of all rows.

A change is checked within minutes; 2 million payouts take 100 steps, eight hours at the default pace. Sweeps pause in
between, because some invariants read all of a wallet in one slice.
"""

import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.controls.invariants.check import VIOLATIONS_MAX, CheckResult, snapshot_time, snapshot_transaction
from shared.controls.invariants.invariant import Invariant, KeySlice
from shared.platform.ids import ID_CLOCK_SKEW_MAX
from shared.schema.controls import Violation

CLAIM_SECONDS: Final = 1800.0
"""Time until another scheduler may take over the check of one that died. Two at once do no harm."""

SWEEP_PAUSE: Final = timedelta(hours=1)
"""Time between the end of a sweep and the next one. Changes are checked meanwhile."""

FORMER_NAMES: Final = {"customer_events_written": "events_told", "ends_match_provider": "ended_as_told"}
"""Invariants that an earlier release stored under another name, which its processes may use until they are replaced."""


class SweepState(NamedTuple):
    """An invariant's row of `invariant_proofs`: how far its sweep has come."""

    name: str
    checked_at: datetime | None
    after: str | None
    began_at: datetime | None
    last_ended_at: datetime | None
    violations: int
    last_violations: int


# Takes over the row that an earlier release stored under a former name; locks that row.
_RENAME_ROW: Final = sa.text("""
    UPDATE invariant_proofs SET name = :name
    WHERE name = :former_name AND NOT EXISTS (SELECT FROM invariant_proofs WHERE name = :name)
""")

_INSERT_ROW: Final = sa.text("INSERT INTO invariant_proofs (name) VALUES (:name) ON CONFLICT DO NOTHING")

# Leases the invariant's row if its next check is due; locks it.
_CLAIM: Final = sa.text("""
    UPDATE invariant_proofs SET attempts = attempts + 1,
        next_action_at = clock_timestamp() + make_interval(secs => :seconds)
    WHERE name = :name AND coalesce(next_action_at, '-infinity') <= clock_timestamp()
    RETURNING name, proved_at, turn_after, turn_began_at, turned_at, turn_breaks, turned_breaks
""")


def claim_invariant_check(connection: sa.Connection, invariant: Invariant) -> SweepState | None:
    """Lease the invariant's check; None if it is not due or another scheduler has it."""
    _create_row(connection, invariant.name)
    row = connection.execute(_CLAIM, {"name": invariant.name, "seconds": CLAIM_SECONDS}).one_or_none()
    return None if row is None else SweepState._make(row)


def _create_row(connection: sa.Connection, name: str) -> None:
    if name in FORMER_NAMES:
        connection.execute(_RENAME_ROW, {"name": name, "former_name": FORMER_NAMES[name]})
    connection.execute(_INSERT_ROW, {"name": name})


class SweepStep(NamedTuple):
    began_at: datetime
    checked: int
    seconds: float
    violations: list[Violation]
    after: str | None
    """Cursor of the next slice; None: begin again."""
    ended: bool
    """Whether the sweep ended with this step."""


def check_next_slice(
    engine: sa.Engine, invariant: Invariant, state: SweepState, pause: timedelta = SWEEP_PAUSE
) -> SweepStep:
    """Check what changed and, unless sweeps pause, the next slice of all rows."""
    started = time.monotonic()
    with snapshot_transaction(engine) as connection:
        now = snapshot_time(connection)
        # A transaction makes its ids before it commits, and its machine's clock may be off.
        since = (state.checked_at or now) - ID_CLOCK_SKEW_MAX
        changed = invariant.subject.changed_since(connection, since) if invariant.check_changes else ()
        slices: Iterable[tuple[Sequence[Any], datetime | None]] = ((keys, since) for keys in changed)
        after, ended = state.after, False
        if after is not None or state.last_ended_at is None or now - state.last_ended_at >= pause:
            page = invariant.subject.page(connection, after, invariant.subject.slice_size, None)
            slices = chain(slices, [(page.keys, None)])
            after, ended = page.after, page.after is None
    found: list[Violation] = []
    checked = 0
    for keys, changed_since in slices:
        if keys:
            with snapshot_transaction(engine) as connection:
                found += invariant.violations(connection, KeySlice(keys, snapshot_time(connection), changed_since))
        checked += len(keys)
    distinct = list(dict.fromkeys(found))[:VIOLATIONS_MAX]  # a changed row may be in the next slice too
    return SweepStep(now, checked, time.monotonic() - started, distinct, after, ended)


def record_sweep_step(connection: sa.Connection, state: SweepState, step: SweepStep, *, every_seconds: float) -> None:
    """Record a step and end its lease. Violations count until a whole sweep finds none."""
    violations = max(state.violations, len(step.violations))
    _record(
        connection,
        state.name,
        step.began_at,
        step,
        {
            "breaks": violations if step.ended else max(violations, state.last_violations),
            "turn_after": step.after,
            "turn_began_at": None if step.after is None else state.began_at or step.began_at,
            "turned_at": step.began_at if step.ended else None,
            "turn_breaks": 0 if step.ended else violations,
            "turned_breaks": violations if step.ended else state.last_violations,
            "every": every_seconds,
        },
    )


def record_full_check(connection: sa.Connection, result: CheckResult, began_at: datetime) -> None:
    """Record a check of all rows."""
    values = {"turn_after": None, "turn_began_at": None, "turned_at": began_at, "turn_breaks": 0, "every": None}
    values |= {"breaks": len(result.violations), "turned_breaks": len(result.violations)}
    _record(connection, result.name, began_at, result, values)


# Records a check and, with `:every`, makes the next one due; locks the invariant's row.
_RECORD: Final = sa.text("""
    UPDATE invariant_proofs SET proved_at = :began_at, duration_seconds = :seconds, checked = :checked,
        breaks = :breaks, turn_after = :turn_after, turn_began_at = :turn_began_at,
        turned_at = coalesce(:turned_at, turned_at), turn_breaks = :turn_breaks,
        turned_breaks = :turned_breaks, attempts = 0,
        example = CASE WHEN :breaks = 0 THEN NULL ELSE coalesce(:example, example) END,
        next_action_at = CASE WHEN CAST(:every AS float8) IS NULL THEN next_action_at
            ELSE clock_timestamp() + make_interval(secs => :every) END
    WHERE name = :name
""")


def _record(
    connection: sa.Connection, name: str, began_at: datetime, result: CheckResult | SweepStep, values: dict[str, Any]
) -> None:
    _create_row(connection, name)
    connection.execute(
        _RECORD,
        {
            "name": name,
            "began_at": began_at,
            "seconds": result.seconds,
            "checked": result.checked,
            "example": result.violations[0].explanation[:500] if result.violations else None,
            **values,
        },
    )


class InvariantStatus(NamedTuple):
    """The last recorded check of an invariant."""

    name: str
    checked_at: datetime
    violations: int


# Rows under a former name are those that processes of an earlier release still write: the current name has its own.
_LOAD_STATUSES: Final = sa.text("""
    SELECT name, proved_at, breaks FROM invariant_proofs
    WHERE proved_at IS NOT NULL AND name <> ALL(:former_names) ORDER BY name
""")


def load_invariant_statuses(connection: sa.Connection) -> list[InvariantStatus]:
    rows = connection.execute(_LOAD_STATUSES, {"former_names": list(FORMER_NAMES.values())})
    return [InvariantStatus._make(row) for row in rows]
