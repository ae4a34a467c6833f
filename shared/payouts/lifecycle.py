"""The payout lifecycle: allowed edges, what each does to the money, and the only function that assigns a status.

A transition writes its history row, ledger transfers and customer event, and updates the counters of its driver, batch
and lists, in one transaction.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from itertools import chain
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from shared import ledger
from shared.events import customer_events
from shared.payouts.counters import update_counters_queries, write_batch_events
from shared.payouts.metrics import initialize_edge, observe_transitions
from shared.payouts.rows import PAYOUT_COLUMNS, PayoutRow, payout_payload
from shared.platform.database import encode_rows
from shared.platform.pipelined_queries import Query, run_queries
from shared.schema.batch_rows import BatchRow
from shared.schema.ledger import TransferKind
from shared.schema.payouts import PayoutStatus

S = PayoutStatus
K = TransferKind


class EdgeEffect(NamedTuple):
    """What a transition does besides changing the status."""

    transfers: tuple[TransferKind, ...] = ()
    """In order. RESERVE applies only if nothing is reserved yet, RELEASE only if something is."""

    event: str | None = None
    """The type of the customer event."""

    reserved: bool | None = None
    """Whether the amount is in transit afterwards; None: unchanged."""

    new_attempt: bool = False


EDGES: Final[dict[tuple[PayoutStatus, PayoutStatus], EdgeEffect]] = {
    # Queued by a worker, or released with its batch: the release reserves a batch payout's amount.
    (S.VALIDATED, S.QUEUED): EdgeEffect((K.RESERVE,), reserved=True),
    # A submission is written; from here on only the provider's response or event ends the payout.
    (S.QUEUED, S.PROCESSING): EdgeEffect(),
    # The provider reports it paid.
    (S.PROCESSING, S.COMPLETED): EdgeEffect((K.SETTLE, K.FEE), "payout.succeeded", reserved=False),
    # The provider definitely rejected it, or its payment failed.
    (S.PROCESSING, S.FAILED): EdgeEffect((K.RELEASE,), "payout.failed", reserved=False),
    # Canceled before submission: by the customer, or because the driver can't be paid any more.
    (S.VALIDATED, S.CANCELED): EdgeEffect((K.RELEASE,), "payout.cancelled", reserved=False),
    (S.QUEUED, S.CANCELED): EdgeEffect((K.RELEASE,), "payout.cancelled", reserved=False),
    # Retried by the customer: a new attempt, with a new submission and key.
    (S.FAILED, S.QUEUED): EdgeEffect((K.RESERVE,), reserved=True, new_attempt=True),
    # Returned by the driver's bank, days later.
    (S.COMPLETED, S.RETURNED): EdgeEffect((K.RETURN,), "payout.returned", reserved=False),
}

for _source, _target in EDGES:
    initialize_edge(_source, _target)


def status_condition(status: str) -> str:
    """SQL condition that a payout found by its id has a status: a `PayoutStatus` value, or a `:parameter`.

    It is opaque to the planner on purpose. With `=`, the planner expects few payouts in the status and looks them up by
    it instead of by id; while thousands are queued, each statement on a few of them would then read them all.
    """
    value = status if status.startswith(":") else f"'{status}'"
    return f"CASE payouts.status WHEN {value} THEN true END"


class ForbiddenEdge(Exception):
    """A bug: the requested transition is not in `EDGES`."""


class Move(msgspec.Struct, frozen=True):
    """One payout's transition; its fields are the columns of `_TRANSITION`'s input."""

    payout_id: uuid.UUID
    reason: str
    next_action_at: datetime | None = None
    submission_id: uuid.UUID | None = None
    """The payout's new submission; None keeps the current one."""
    failure_code: str | None = None
    failure_message: str | None = None


class TransitionResult(NamedTuple):
    """The outcome of a transition."""

    rows: list[PayoutRow]
    """The moved payouts, as they are now."""
    skipped: list[uuid.UUID]
    """Payouts that had left the source status: another transaction was first, nothing is overwritten."""


class StartedTransition(NamedTuple):
    """Moved payouts, and the queries that finish their transition."""

    source: PayoutStatus
    target: PayoutStatus
    rows: list[PayoutRow]
    """The moved payouts, as they are now."""
    events: Query[None] | None
    transfers: Query[Sequence[Any]] | None
    counters: tuple[Query[None] | None, Query[list[BatchRow]] | None]
    """Of drivers and lists, and of batches."""
    stage_seconds: list[tuple[str, float]]
    """For each payout, its rail and its time in `source`."""


# The race guard: a payout that another transaction moved first no longer matches.
_IN_SOURCE = status_condition(":source")

# Moves payouts from :source to :target and writes their history. Locks them in id order.
# The BETWEEN matches every id and makes the planner expect one row, so it finds payouts by id. Without it, it expects a
# hundred rows, and scans the whole table if that was small when the statement was prepared.
_TRANSITION = sa.text(f"""
    WITH move AS (
        SELECT * FROM json_to_recordset(CAST(:moves AS json))
               AS move (payout_id uuid, reason text, next_action_at timestamptz, submission_id uuid,
                        failure_code text, failure_message text)
        WHERE payout_id BETWEEN '00000000-0000-0000-0000-000000000000' AND 'ffffffff-ffff-ffff-ffff-ffffffffffff'
    ), locked AS (
        SELECT move.*, payouts.reserved AS was_reserved, payouts.updated_at AS since
        FROM move JOIN payouts ON payouts.id = move.payout_id
        WHERE {_IN_SOURCE} ORDER BY payouts.id FOR UPDATE OF payouts
    ), changed AS (
        UPDATE payouts SET
            status = :target, sequence = payouts.sequence + 1, updated_at = :now,
            next_action_at = locked.next_action_at,
            submission_id = coalesce(locked.submission_id, payouts.submission_id),
            reserved = coalesce(CAST(:reserved AS boolean), payouts.reserved),
            attempt = payouts.attempt + :attempt_step, polls = 0,
            failure_code = locked.failure_code, failure_message = locked.failure_message,
            completed_at = CASE WHEN :target = 'completed' THEN :now ELSE payouts.completed_at END,
            canceled_at = CASE WHEN :target = 'canceled' THEN :now ELSE payouts.canceled_at END
        FROM locked, drivers
        WHERE payouts.id = locked.payout_id AND {_IN_SOURCE}
              AND drivers.id = payouts.driver_id AND drivers.wallet_id = payouts.wallet_id
        RETURNING payouts.*, drivers.name AS driver_name, locked.reason, locked.was_reserved,
                  CAST(extract(epoch FROM :now - locked.since) AS float8) AS stage_seconds
    ), written AS (
        INSERT INTO payout_transitions (payout_id, sequence, from_status, to_status, attempt, reason, failure_code,
                                        created_at)
        SELECT id, sequence, :source, :target, attempt, reason, failure_code, :now FROM changed
    )
    SELECT {PAYOUT_COLUMNS}, was_reserved, stage_seconds FROM changed ORDER BY id
""")


def transition_payouts(
    connection: sa.Connection, moves: Sequence[Move], source: PayoutStatus, target: PayoutStatus, now: datetime
) -> TransitionResult:
    """Move the payouts that are still in `source` to `target`.

    Raises:
        ForbiddenEdge: the edge is not allowed.
        sqlalchemy.exc.IntegrityError: the balance does not cover a reservation. Callers that reserve check the balance
            under the wallet lock first; this is the database's last safeguard.

    """
    started = start_transition(connection, moves, source, target, now)
    finish_transitions(connection, [started], now)
    moved = {row.id for row in started.rows}
    return TransitionResult(started.rows, [move.payout_id for move in moves if move.payout_id not in moved])


def start_transition(
    connection: sa.Connection, moves: Sequence[Move], source: PayoutStatus, target: PayoutStatus, now: datetime
) -> StartedTransition:
    """Move payouts and write their history; no wallet is locked. `finish_transitions` must follow before the commit.

    Raises:
        ForbiddenEdge: the edge is not allowed.

    """
    [started] = run_queries(connection, start_transition_query(moves, source, target, now))
    return started or StartedTransition(source, target, [], None, None, (None, None), [])


def start_transition_query(
    moves: Sequence[Move], source: PayoutStatus, target: PayoutStatus, now: datetime
) -> Query[StartedTransition] | None:
    """Query that performs `start_transition`, or None if `moves` is empty."""
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
        events, transfers = None, transfers_of_transition(pairs, effect)
        if effect.event is not None and rows:
            to_write = (
                customer_events.Event(row.wallet_id, effect.event, row.id, row.sequence, payout_payload(row))
                for row in rows
            )
            events = customer_events.write_events_query(to_write, now)
        return StartedTransition(
            source,
            target,
            rows,
            events,
            ledger.post_transfers_query(transfers, now) if transfers else None,
            update_counters_queries(rows, source, target, now),
            [(row.rail, columns[-1]) for row, columns in zip(rows, found, strict=True)],
        )

    return Query(_TRANSITION, values, read)


def finish_transitions(
    connection: sa.Connection, started: Sequence[StartedTransition], now: datetime, *queries: Query[Any] | None
) -> None:
    """Finish transitions in one round trip: customer events first, then ledger and counters under the wallets' lock.

    The caller's own `queries` run before the lock is taken.

    Raises:
        sqlalchemy.exc.IntegrityError: see `transition_payouts`.

    """
    under_lock = [(one.transfers, *one.counters) for one in started]
    lock = None
    if any(query is not None for group in under_lock for query in group):
        lock = ledger.lock_wallets_query({row.wallet_id for one in started for row in one.rows})
    first = [*(one.events for one in started), *queries, lock]  # the lock last: it is held until the commit
    done = run_queries(connection, *first, *chain.from_iterable(under_lock))[len(first) :]
    for one, low_balances, ended_batches in zip(started, done[0::3], done[2::3], strict=True):
        ledger.write_low_balance_events(connection, low_balances or (), now)
        write_batch_events(connection, ended_batches or (), now)
        observe_transitions(connection, one.source, one.target, one.stage_seconds)


def transfers_of_transition(pairs: Sequence[tuple[PayoutRow, bool]], effect: EdgeEffect) -> list[ledger.NewTransfer]:
    """The ledger transfers of a transition; each payout comes with whether its amount was reserved before."""
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
