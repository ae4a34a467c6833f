"""Acceptance: the promise to make a payout exactly once, written in the caller's transaction.

An instant payout also passes `queued` and `processing` here, with its submission, so the response truthfully says
`processing`; a worker then sends it.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from shared import ledger
from shared.events import customer_events
from shared.events.customer_events import Event
from shared.payouts.duplicate_loads import add_live_payout
from shared.payouts.lifecycle import Move, finish_transitions, start_transition_query
from shared.payouts.metrics import count_accepted
from shared.payouts.orders import (
    LockedState,
    OrderContext,
    PayoutOrder,
    driver_not_found,
    locked_state_queries,
    validate_order,
)
from shared.payouts.rows import PayoutRow, payout_payload
from shared.payouts.submissions import outgoing_payouts_queries, prepare_outgoing_payouts
from shared.platform.database import encode_rows
from shared.platform.errors import DomainError, InsufficientFunds
from shared.platform.pipelined_queries import Query, no_result, run_queries
from shared.schema.ledger import TransferKind
from shared.schema.payouts import PayoutStatus, Rail
from shared.schema.scenarios import Scenario

ACCEPTED_REASON: Final = "accepted"


class Acceptance(NamedTuple):
    """Decided orders; `finish_acceptance` writes what is not written yet."""

    outcomes: list[PayoutRow | DomainError]
    """One for each order, in order."""
    accepted: int
    writes: list[Query[Any]]
    """What is left to write; its last query returns the wallets whose balance fell below their threshold."""
    low_balances: Sequence[Any] = ()
    """The same, where everything is written already."""


def accept_payouts(
    connection: sa.Connection,
    orders: Sequence[PayoutOrder],
    context: OrderContext,
    available: Mapping[uuid.UUID, int],
    now: datetime,
    *,
    grace: timedelta,
) -> list[PayoutRow | DomainError]:
    """Accept the orders that can be paid; one outcome for each, in order.

    `context` is from `load_order_context`; `available` from `ledger.lock_wallets`, whose locks the caller holds.
    """
    state = LockedState.of(available, *run_queries(connection, *locked_state_queries(orders)))
    acceptance = start_acceptance(connection, orders, context, state, now, grace=grace)
    finish_acceptance(connection, acceptance, now)
    return acceptance.outcomes


def start_acceptance(
    connection: sa.Connection,
    orders: Sequence[PayoutOrder],
    context: OrderContext,
    state: LockedState,
    now: datetime,
    *,
    grace: timedelta,
) -> Acceptance:
    """Decide the orders. Nothing is written yet, unless one is instant: then all accepted payouts are.

    An order beyond the balance is refused without affecting the others: funds go in order of arrival. `grace` delays
    the scheduler's own wake-up for the accepted payouts.
    """
    outcomes = _decide(orders, context, state, now)
    accepted = [outcome for outcome in outcomes if isinstance(outcome, PayoutRow)]
    writes: list[Query[Any]] = []
    if accepted:
        entries = [
            ledger.NewTransfer(
                row.wallet_id, TransferKind.RESERVE, row.amount_cents, payout_id=row.id, attempt=row.attempt
            )
            for row in accepted
        ]
        writes = [*write_payouts_queries(accepted, now, now + grace), ledger.post_transfers_query(entries, now)]
    instant = [row.id for row in accepted if row.rail == Rail.INSTANT]
    if not instant:
        return Acceptance(outcomes, len(accepted), writes)
    moves = [Move(payout_id, "instant", next_action_at=now) for payout_id in instant]
    *written, queued, items, has_unmatched_payments = run_queries(
        connection,
        *writes,
        start_transition_query(moves, PayoutStatus.VALIDATED, PayoutStatus.QUEUED, now),
        *outgoing_payouts_queries(instant),
    )
    finish_transitions(connection, [queued], now)
    # A payout that may not be submitted yet, for instance during a hold, stays queued.
    sent = prepare_outgoing_payouts(connection, items, has_unmatched_payments, now, reason="instant").rows
    latest = {row.id: row for row in (*queued.rows, *sent)}
    outcomes = [latest.get(outcome.id, outcome) if isinstance(outcome, PayoutRow) else outcome for outcome in outcomes]
    return Acceptance(outcomes, len(accepted), [], low_balances=written[-1])


def finish_acceptance(
    connection: sa.Connection, acceptance: Acceptance, now: datetime, *queries: Query[Any] | None
) -> None:
    """Write what is left, and in the same round trip the caller's own `queries`."""
    results = run_queries(connection, *acceptance.writes, *queries)
    if acceptance.accepted:
        low = results[len(acceptance.writes) - 1] if acceptance.writes else acceptance.low_balances
        ledger.write_low_balance_events(connection, low, now)
        count_accepted(connection, acceptance.accepted)


def _decide(
    orders: Sequence[PayoutOrder], context: OrderContext, state: LockedState, now: datetime
) -> list[PayoutRow | DomainError]:
    available = dict(state.available)
    live_payouts = dict(state.live_payouts)
    outcomes: list[PayoutRow | DomainError] = []
    for order in orders:
        try:
            if order.rail is Rail.INSTANT and order.driver_id not in state.existing_drivers:
                raise driver_not_found(order)
            row = validate_order(order, context, live_payouts, now)
            if row.amount_cents > available[order.wallet_id] or order.scenario is Scenario.INSUFFICIENT_FUNDS:
                raise InsufficientFunds(
                    "The wallet's available balance does not cover this payout",
                    available=available[order.wallet_id],
                    required=row.amount_cents,
                )
        except DomainError as refusal:
            outcomes.append(refusal)
        else:
            available[order.wallet_id] -= row.amount_cents
            add_live_payout(live_payouts, row)
            outcomes.append(row)
    return outcomes


# Inserts payouts with their first history row and adds them to the counters of their drivers and wallets. Updates, and
# so locks, the drivers and list_counts rows; the caller has the wallets locked.
_INSERT_PAYOUTS: Final = sa.text("""
    WITH made AS (
        INSERT INTO payouts (id, wallet_id, driver_id, load_id, amount_cents, fee_cents, rail, description,
                             requested_by, batch_id, duplicate_of, duplicate_reason, scenario, status, reserved,
                             sequence, attempt, requested_at, updated_at, next_action_at)
        SELECT made.*, 'validated', made.batch_id IS NULL, 1, 1, :now, :now, CAST(:due AS timestamptz)
        FROM json_to_recordset(CAST(:payouts AS json)) AS made (
            id uuid, wallet_id uuid, driver_id uuid, load_id text, amount_cents bigint, fee_cents bigint, rail text,
            description text, requested_by text, batch_id uuid, duplicate_of uuid, duplicate_reason text,
            scenario text)
        RETURNING id, wallet_id, driver_id
    ), of_drivers AS (
        UPDATE drivers SET payout_count = payout_count + new.count, pending_payouts = pending_payouts + new.count
        FROM (SELECT driver_id, count(*) FROM made GROUP BY driver_id) AS new WHERE drivers.id = new.driver_id
    ), counted AS (
        UPDATE list_counts SET count = list_counts.count + new.count
        FROM (SELECT wallet_id, count(*) FROM made GROUP BY wallet_id) AS new
        WHERE list_counts.wallet_id = new.wallet_id AND name = 'payouts'
    )
    INSERT INTO payout_transitions (payout_id, sequence, from_status, to_status, attempt, reason, created_at)
    SELECT id, 1, NULL, 'validated', 1, :reason, :now FROM made
""")


class _InsertedPayout(msgspec.Struct):
    id: uuid.UUID
    wallet_id: uuid.UUID
    driver_id: uuid.UUID
    load_id: str | None
    amount_cents: int
    fee_cents: int
    rail: str
    description: str | None
    requested_by: str | None
    batch_id: uuid.UUID | None
    duplicate_of: uuid.UUID | None
    duplicate_reason: str | None
    scenario: str | None


_inserted_fields = attrgetter(*_InsertedPayout.__struct_fields__)


def write_payouts_queries(
    rows: Sequence[PayoutRow], now: datetime, due: datetime | None
) -> tuple[Query[None], Query[None]]:
    """Queries that perform `write_payouts`."""
    made = encode_rows(_InsertedPayout(*_inserted_fields(row)) for row in rows)
    events = (Event(row.wallet_id, "payout.created", row.id, row.sequence, payout_payload(row)) for row in rows)
    values = {"now": now, "due": due, "reason": ACCEPTED_REASON, "payouts": made}
    return Query(_INSERT_PAYOUTS, values, no_result), customer_events.write_events_query(events, now)


def write_payouts(connection: sa.Connection, rows: Sequence[PayoutRow], now: datetime, due: datetime | None) -> None:
    """Write payouts as `validated`, with their first history row and event.

    The caller has the wallets locked, and reserves the amounts of single payouts; a batch payout has nothing reserved,
    and `due` is None.
    """
    if rows:
        run_queries(connection, *write_payouts_queries(rows, now, due))
        count_accepted(connection, len(rows))
