"""In turns: how a scheduler proves laws all day without reading everything all day.

Each time a law is proved of what has changed since its last proof, and of the next portion of all rows. So what happens
is looked at within minutes, and what has lain for years is looked at again within a day: at 2 million payouts a turn
takes 100 proofs, eight hours with the default pace. After a turn the next one rests a while, for some laws, as that of
the accounts, read all of a wallet in one portion. `ovnpay verify` does a whole turn at once.
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
"""How long a proof may take until another scheduler takes over from one that has died. Two at once do no harm."""

SWEEP_PAUSE: Final = timedelta(hours=1)
"""How long after the end of a turn the next one begins. What has changed is proved all the same."""


class SweepState(NamedTuple):
    """How far a law's proofs have come."""

    name: str
    proved_at: datetime | None
    turn_after: str | None
    turn_began_at: datetime | None
    turned_at: datetime | None
    turn_breaks: int
    turned_breaks: int


def claim_invariant_check(connection: sa.Connection, law: Invariant) -> SweepState | None:
    """Takes the law's proof for us, if it is due and nobody else is at it."""
    connection.execute(
        sa.text("INSERT INTO invariant_proofs (name) VALUES (:name) ON CONFLICT DO NOTHING"), {"name": law.name}
    )
    row = connection.execute(
        sa.text("""
            UPDATE invariant_proofs SET attempts = attempts + 1,
                next_action_at = clock_timestamp() + make_interval(secs => :seconds)
            WHERE name = :name AND coalesce(next_action_at, '-infinity') <= clock_timestamp()
            RETURNING name, proved_at, turn_after, turn_began_at, turned_at, turn_breaks,
                      turned_breaks
        """),
        {"name": law.name, "seconds": CLAIM_SECONDS},
    ).one_or_none()
    return None if row is None else SweepState._make(row)


class SweepStep(NamedTuple):
    """What came of one proof in turn."""

    began: datetime
    checked: int
    seconds: float
    breaks: list[Violation]
    after: str | None
    """Where the next one goes on; None: from the beginning."""
    over: bool
    """Whether a turn came to its end with it."""


def check_next_slice(engine: sa.Engine, law: Invariant, turn: SweepState, rests: timedelta = SWEEP_PAUSE) -> SweepStep:
    """Proves a law of what has changed since its last proof and, unless its turn rests, of the next portion of
    everything.
    """
    began = time.monotonic()
    with snapshot_transaction(engine) as connection:
        now = snapshot_time(connection)
        # A transaction takes its ids before it commits, and its machine's clock may be off.
        since = (turn.proved_at or now) - ID_CLOCK_SKEW_MAX
        changed = law.subject.since(connection, since) if law.when_changed else ()
        portions: Iterable[tuple[Sequence[Any], datetime | None]] = ((keys, since) for keys in changed)
        after, over = turn.turn_after, False
        if after is not None or turn.turned_at is None or now - turn.turned_at >= rests:
            stretch = law.subject.stretch(connection, after, law.subject.at_once, None)
            portions = chain(portions, [(stretch.keys, None)])
            after, over = stretch.after, stretch.after is None
    found: list[Violation] = []
    checked = 0
    for keys, changed_since in portions:
        if keys:
            with snapshot_transaction(engine) as connection:
                found += law.breaks(connection, KeySlice(keys, snapshot_time(connection), changed_since))
        checked += len(keys)
    distinct = list(dict.fromkeys(found))[:VIOLATIONS_MAX]  # what has just changed may be next in turn as well
    return SweepStep(now, checked, time.monotonic() - began, distinct, after, over)


def record_sweep_step(connection: sa.Connection, turn: SweepState, proved: SweepStep, *, every_seconds: float) -> None:
    """Writes down what came of it. A break counts until a whole turn has found it no more."""
    breaks = max(turn.turn_breaks, len(proved.breaks))
    over = proved.over
    _write(
        connection,
        turn.name,
        proved.began,
        proved.seconds,
        proved.checked,
        proved.breaks,
        {
            "breaks": breaks if over else max(breaks, turn.turned_breaks),
            "turn_after": proved.after,
            "turn_began_at": None if proved.after is None else turn.turn_began_at or proved.began,
            "turned_at": proved.began if over else None,
            "turn_breaks": 0 if over else breaks,
            "turned_breaks": breaks if over else turn.turned_breaks,
            "every": every_seconds,
        },
    )


def record_full_check(connection: sa.Connection, proof: CheckResult, began: datetime) -> None:
    """Writes down a proof of everything: a whole turn at once."""
    values = {"turn_after": None, "turn_began_at": None, "turned_at": began, "turn_breaks": 0, "every": None}
    values |= {"breaks": len(proof.breaks), "turned_breaks": len(proof.breaks)}
    _write(connection, proof.name, began, proof.seconds, proof.checked, proof.breaks, values)


def _write(
    connection: sa.Connection,
    name: str,
    began: datetime,
    seconds: float,
    checked: int,
    breaks: Sequence[Violation],
    values: dict[str, Any],
) -> None:
    connection.execute(
        sa.text("INSERT INTO invariant_proofs (name) VALUES (:name) ON CONFLICT DO NOTHING"), {"name": name}
    )
    connection.execute(
        sa.text("""
            UPDATE invariant_proofs SET proved_at = :began, duration_seconds = :seconds, checked = :checked,
                breaks = :breaks, turn_after = :turn_after, turn_began_at = :turn_began_at,
                turned_at = coalesce(:turned_at, turned_at), turn_breaks = :turn_breaks,
                turned_breaks = :turned_breaks, attempts = 0,
                example = CASE WHEN :breaks = 0 THEN NULL ELSE coalesce(:example, example) END,
                next_action_at = CASE WHEN CAST(:every AS float8) IS NULL THEN next_action_at
                    ELSE clock_timestamp() + make_interval(secs => :every) END
            WHERE name = :name
        """),
        {
            "name": name,
            "began": began,
            "seconds": seconds,
            "checked": checked,
            "example": breaks[0].explanation[:500] if breaks else None,
            **values,
        },
    )


class InvariantStatus(NamedTuple):
    """What is known of a law."""

    name: str
    proved_at: datetime
    breaks: int


def load_invariant_statuses(connection: sa.Connection) -> list[InvariantStatus]:
    """What is known of each law that was proved."""
    rows = connection.execute(
        sa.text("SELECT name, proved_at, breaks FROM invariant_proofs WHERE proved_at IS NOT NULL ORDER BY name")
    )
    return [InvariantStatus._make(row) for row in rows]
