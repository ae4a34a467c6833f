"""The one transition function: a conditional update by a table of allowed edges.

Each step writes its history row, its ledger transfers and its customer event in the same transaction, and is added
up in the figures of its driver, its batch and its lists.
Nothing else assigns a status.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import sqlalchemy as sa

from shared import customer_events, ledger, safeguards
from shared.db import as_rows
from shared.models.ledger import TransferKind
from shared.models.payouts import PayoutStatus
from shared.payouts.edges import EDGES, Effect, is_in
from shared.payouts.figures import note_steps
from shared.payouts.rows import COLUMNS, PayoutRow, public
from shared.payouts.tally import is_counted, stepped


class ForbiddenEdge(Exception):
    """The code asked for a step that no payout may take."""


class Move(NamedTuple):
    """One payout's step."""

    payout_id: uuid.UUID
    reason: str
    next_action_at: datetime | None = None
    submission_id: uuid.UUID | None = None
    """The submission that takes it from here; None leaves the one it has."""
    failure_code: str | None = None
    failure_message: str | None = None


class Moved(NamedTuple):
    """What a transition did."""

    rows: list[PayoutRow]
    """The payouts that took the step, as they are now."""
    lost: list[uuid.UUID]
    """Those that were not in the source status any more: somebody else was first, nothing was overwritten."""


_FROM_SOURCE = is_in(":source") if safeguards.is_on(safeguards.TRANSITION_GUARD) else "true"
"""The guard: whoever comes second finds nothing to change."""

# Every id is between those two; the planner takes what is for one row, and so finds payouts by their ids. Any list it
# takes for a hundred: then it reads all of a table that was small when the statement was prepared.
_TRANSITION = sa.text(f"""
    WITH move AS (
        SELECT * FROM json_to_recordset(CAST(:moves AS json))
               AS move (payout_id uuid, reason text, next_action_at timestamptz, submission_id uuid,
                        failure_code text, failure_message text)
        WHERE payout_id BETWEEN '00000000-0000-0000-0000-000000000000' AND 'ffffffff-ffff-ffff-ffff-ffffffffffff'
    ), held AS (
        SELECT move.*, payouts.reserved AS was_reserved, payouts.updated_at AS since
        FROM move JOIN payouts ON payouts.id = move.payout_id
        WHERE {_FROM_SOURCE} ORDER BY payouts.id FOR UPDATE OF payouts
    ), changed AS (
        UPDATE payouts SET
            status = :target, sequence = payouts.sequence + 1, updated_at = :now, next_action_at = held.next_action_at,
            submission_id = coalesce(held.submission_id, payouts.submission_id),
            reserved = coalesce(CAST(:reserved AS boolean), payouts.reserved),
            attempt = payouts.attempt + :attempt_step, polls = 0,
            failure_code = held.failure_code, failure_message = held.failure_message,
            completed_at = CASE WHEN :target = 'completed' THEN :now ELSE payouts.completed_at END,
            canceled_at = CASE WHEN :target = 'canceled' THEN :now ELSE payouts.canceled_at END
        FROM held, drivers
        WHERE payouts.id = held.payout_id AND {_FROM_SOURCE}
              AND drivers.id = payouts.driver_id AND drivers.wallet_id = payouts.wallet_id
        RETURNING payouts.*, drivers.name AS driver_name, held.reason, held.was_reserved,
                  CAST(extract(epoch FROM :now - held.since) AS float8) AS stage_seconds
    ), written AS (
        INSERT INTO payout_transitions (payout_id, sequence, from_status, to_status, attempt, reason, failure_code,
                                        created_at)
        SELECT id, sequence, :source, :target, attempt, reason, failure_code, :now FROM changed
    )
    SELECT {COLUMNS}, was_reserved, stage_seconds FROM changed ORDER BY id
""")


def transition(
    connection: sa.Connection, moves: Sequence[Move], source: PayoutStatus, target: PayoutStatus, now: datetime
) -> Moved:
    """Takes payouts from `source` to `target`, those of them that still are in `source`.

    Raises:
        ForbiddenEdge: no payout may take that step.
        sqlalchemy.exc.IntegrityError: a reservation is not covered. Callers that reserve check under the
            wallet's lock first, so this is the database's last word, not an answer to a customer.

    """
    if (source, target) not in EDGES:
        raise ForbiddenEdge(f"A payout can't go from {source} to {target}")
    if not moves:
        return Moved([], [])
    effect = EDGES[source, target]
    found = connection.execute(
        _TRANSITION,
        {
            "moves": as_rows(
                {
                    "payout_id": move.payout_id,
                    "reason": move.reason,
                    "next_action_at": move.next_action_at,
                    "submission_id": move.submission_id,
                    "failure_code": move.failure_code,
                    "failure_message": move.failure_message,
                }
                for move in moves
            ),
            "source": source.value,
            "target": target.value,
            "reserved": effect.reserved,
            "attempt_step": int(effect.new_attempt),
            "now": now,
        },
    ).all()
    pairs = [(PayoutRow._make(row[:-2]), bool(row.was_reserved)) for row in found]
    rows = [row for row, _ in pairs]
    if effect.event is not None:
        customer_events.write(
            connection,
            [customer_events.Event(row.wallet_id, effect.event, row.id, row.sequence, public(row)) for row in rows],
            now,
        )
    made = entries(pairs, effect)
    if made or (rows and is_counted(source, target)):  # after all that needs no lock, for it is held until the commit
        available = ledger.lock(connection, {row.wallet_id for row in rows})
        ledger.post(connection, made, now, available)
        stepped(connection, rows, source, target, now)
    note_steps(connection, source, target, [(row.rail, row.stage_seconds) for row in found])
    taken = {row.id for row in rows}
    return Moved(rows, [move.payout_id for move in moves if move.payout_id not in taken])


def entries(pairs: Sequence[tuple[PayoutRow, bool]], effect: Effect) -> list[ledger.Entry]:
    """The ledger transfers of a step, for payouts each with whether its amount was reserved before."""
    made = []
    for row, was_reserved in pairs:
        amounts = {
            TransferKind.RESERVE: 0 if was_reserved else row.amount_cents,
            TransferKind.SETTLE: row.net_cents,
            TransferKind.FEE: row.fee_cents,
            TransferKind.RELEASE: row.amount_cents if was_reserved else 0,
            TransferKind.RETURN: row.net_cents,
        }
        made += [
            ledger.Entry(row.wallet_id, kind, amounts[kind], payout_id=row.id, attempt=row.attempt)
            for kind in effect.transfers
            if amounts[kind]
        ]
    return made
