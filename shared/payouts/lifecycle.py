"""The one transition function: a conditional update by a table of allowed edges.

Each step writes its history row, its ledger transfers and its customer event in the same transaction, and is added
up in the figures of its driver, its batch and its lists.
Nothing else assigns a status.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from shared import ledger
from shared.events import customer_events
from shared.payouts.allowed_edges import EDGES, EdgeEffect, status_condition
from shared.payouts.counters import update_counters_queries, write_batch_events
from shared.payouts.metrics import observe_transitions
from shared.payouts.rows import PAYOUT_COLUMNS, PayoutRow, payout_payload
from shared.platform import safeguards
from shared.platform.database import encode_rows
from shared.platform.pipelined_queries import Query, run_queries
from shared.schema.batch_rows import BatchRow
from shared.schema.ledger import TransferKind
from shared.schema.payouts import PayoutStatus


class ForbiddenEdge(Exception):
    """The code asked for a step that no payout may take."""


class Move(msgspec.Struct, frozen=True):
    """One payout's step, as it is sent to the database."""

    payout_id: uuid.UUID
    reason: str
    next_action_at: datetime | None = None
    submission_id: uuid.UUID | None = None
    """The submission that takes it from here; None leaves the one it has."""
    failure_code: str | None = None
    failure_message: str | None = None


class TransitionResult(NamedTuple):
    """What a transition did."""

    rows: list[PayoutRow]
    """The payouts that took the step, as they are now."""
    lost: list[uuid.UUID]
    """Those that were not in the source status any more: somebody else was first, nothing was overwritten."""


_FROM_SOURCE = status_condition(":source") if safeguards.is_on(safeguards.TRANSITION_GUARD) else "true"
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
    SELECT {PAYOUT_COLUMNS}, was_reserved, stage_seconds FROM changed ORDER BY id
""")


class StartedTransition(NamedTuple):
    """A step that payouts have taken, with what is still to be written of it."""

    source: PayoutStatus
    target: PayoutStatus
    rows: list[PayoutRow]
    """The payouts that took it, as they are now."""
    events: Query[None] | None
    """What the customer is told."""
    transfers: Query[Sequence[Any]] | None
    figures: tuple[Query[None] | None, Query[list[BatchRow]] | None]
    """Of drivers, lists and batches."""
    stages: list[tuple[str, float]]
    """Each payout's rail, and how many seconds it was in `source`."""


def transition_payouts(
    connection: sa.Connection, moves: Sequence[Move], source: PayoutStatus, target: PayoutStatus, now: datetime
) -> TransitionResult:
    """Takes payouts from `source` to `target`, those of them that still are in `source`.

    Raises:
        ForbiddenEdge: no payout may take that step.
        sqlalchemy.exc.IntegrityError: a reservation is not covered. Callers that reserve check under the
            wallet's lock first, so this is the database's last word, not an answer to a customer.

    """
    taken = start_transition(connection, moves, source, target, now)
    finish_transitions(connection, [taken], now)
    there = {row.id for row in taken.rows}
    return TransitionResult(taken.rows, [move.payout_id for move in moves if move.payout_id not in there])


def start_transition(
    connection: sa.Connection, moves: Sequence[Move], source: PayoutStatus, target: PayoutStatus, now: datetime
) -> StartedTransition:
    """The first half of a transition: the payouts and their history, for which no wallet is locked. Whoever takes a
    step books it before he commits.

    Raises:
        ForbiddenEdge: no payout may take that step.

    """
    [taken] = run_queries(connection, start_transition_query(moves, source, target, now))
    return taken or StartedTransition(source, target, [], None, None, (None, None), [])


def start_transition_query(
    moves: Sequence[Move], source: PayoutStatus, target: PayoutStatus, now: datetime
) -> Query[StartedTransition] | None:
    """Takes the step once it is asked; see `start_transition`. None where nobody is to take it."""
    if (source, target) not in EDGES:
        raise ForbiddenEdge(f"A payout can't go from {source} to {target}")
    if not moves:
        return None
    effect = EDGES[source, target]
    values = {
        "moves": encode_rows(moves),
        "source": source.value,
        "target": target.value,
        "reserved": effect.reserved,
        "attempt_step": int(effect.new_attempt),
        "now": now,
    }

    def read(found: Sequence[Any]) -> StartedTransition:
        pairs = [(PayoutRow._make(row[:-2]), bool(row[-2])) for row in found]
        rows = [row for row, _ in pairs]
        events, made = None, transfers_of_transition(pairs, effect)
        if effect.event is not None and rows:
            told = (
                customer_events.Event(row.wallet_id, effect.event, row.id, row.sequence, payout_payload(row))
                for row in rows
            )
            events = customer_events.write_events_query(told, now)
        transfers = ledger.post_transfers_query(made, now) if made else None
        stages = [(row.rail, stage[-1]) for row, stage in zip(rows, found, strict=True)]
        return StartedTransition(
            source, target, rows, events, transfers, update_counters_queries(rows, source, target, now), stages
        )

    return Query(_TRANSITION, values, read)


def finish_transitions(
    connection: sa.Connection, steps: Sequence[StartedTransition], now: datetime, *beside: Query[Any] | None
) -> None:
    """The other half, of all steps in one round trip: the customer's events and then, under the wallets' lock, the
    ledger and the figures. `beside` is what the caller has to write too, and needs no lock for.

    Raises:
        sqlalchemy.exc.IntegrityError: as `transition_payouts` does.

    """
    booked = [(step.transfers, *step.figures) for step in steps]
    lock = None
    if any(query is not None for queries in booked for query in queries):
        lock = ledger.lock_wallets_query({row.wallet_id for step in steps for row in step.rows})
    first = [*(step.events for step in steps), *beside, lock]  # the lock last, for it is held until the commit
    done = run_queries(connection, *first, *chain.from_iterable(booked))[len(first) :]
    for step, fallen, ended in zip(steps, done[0::3], done[2::3], strict=True):
        ledger.write_low_balance_events(connection, fallen or (), now)
        write_batch_events(connection, ended or (), now)
        observe_transitions(connection, step.source, step.target, step.stages)


def transfers_of_transition(pairs: Sequence[tuple[PayoutRow, bool]], effect: EdgeEffect) -> list[ledger.NewTransfer]:
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
            ledger.NewTransfer(row.wallet_id, kind, amounts[kind], payout_id=row.id, attempt=row.attempt)
            for kind in effect.transfers
            if amounts[kind]
        ]
    return made
