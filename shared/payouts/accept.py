"""Accepting payouts: the promise to a customer that a payout will be made exactly once.

Everything about it is written in the caller's transaction: the payout, its first history row, the reservation,
the customer's event. An instant payout also passes `queued` and `processing` here, its submission written, so
that the answer truthfully says `processing`; a worker then sends it.
"""

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from shared import ledger
from shared.events import customer_events
from shared.events.customer_events import Event
from shared.ledger import prices
from shared.payouts.allowed_edges import RAIL_LIMIT_CENTS
from shared.payouts.lifecycle import Move, StartedTransition, finish_transitions, start_transition_query
from shared.payouts.metrics import count_accepted
from shared.payouts.rows import PayoutRow, payout_payload
from shared.payouts.submissions import OutgoingPayout, outgoing_payouts_queries, prepare_outgoing_payouts
from shared.platform.database import as_rows
from shared.platform.errors import Conflict, InsufficientFunds, Invalid, NotFound, NotPayable, Refusal
from shared.platform.ids import DRIVER, PAYOUT, named, show
from shared.platform.pipelined_queries import Query, ask, nothing
from shared.schema.ledger import TransferKind
from shared.schema.organizations import DuplicateLoads
from shared.schema.payouts import PayoutStatus, Rail
from shared.schema.scenarios import Scenario

ACCEPTED_REASON: Final = "accepted"


class PayoutOrder(NamedTuple):
    """A payout that somebody asks for. Its id is made before the transaction, so that after a lost connection
    during COMMIT we can look whether it is there.
    """

    id: uuid.UUID
    wallet_id: uuid.UUID
    driver_id: uuid.UUID | None
    """None where the text in the request can't be an id: an unknown driver like any other."""
    driver_reference: str
    """The driver's id as the request has it, for the message."""
    amount_cents: int
    rail: Rail
    description: str | None = None
    load_id: str | None = None
    requested_by: str | None = None
    batch_id: uuid.UUID | None = None
    """The batch that it is handed in with: priced by its list, and reserved when the batch is released."""
    allow_duplicate: bool = False
    """Whether the driver may be paid for this load again, although the wallet's policy refuses that."""
    duplicate_reason: str | None = None
    refuse_duplicate: bool = False
    """Whether a second live payout for the load is refused although the wallet's policy would only warn."""
    scenario: Scenario = Scenario.SUCCESS
    """What the sandbox is to play; always success in production."""


class _Driver(NamedTuple):
    id: uuid.UUID
    wallet_id: uuid.UUID
    name: str
    status: str
    kyc_status: str
    duplicate_loads: str
    """The wallet's policy."""


class OrderContext(NamedTuple):
    """What orders are checked against."""

    price_list: prices.PriceList
    drivers: dict[tuple[uuid.UUID, uuid.UUID], _Driver]
    """By wallet and id."""


def order_context_queries(
    orders: Sequence[PayoutOrder],
) -> tuple[Query[prices.PriceList], Query[dict[tuple[uuid.UUID, uuid.UUID], _Driver]]]:
    """Asks for what the orders are checked against, a `OrderContext`; before the wallet is locked, so that nobody
    waits for
    it.
    """
    ids = list({order.driver_id for order in orders if order.driver_id is not None})
    drivers = Query(_DRIVERS, {"ids": ids}, lambda rows: {(row[1], row[0]): _Driver._make(row) for row in rows})
    return prices.load_price_list_query(), drivers


def load_order_context(connection: sa.Connection, orders: Sequence[PayoutOrder]) -> OrderContext:
    """Reads what the orders are checked against; see `order_context_queries`."""
    return OrderContext(*ask(connection, *order_context_queries(orders)))


class LockedState(NamedTuple):
    """What can change until the wallet is locked: asked under its lock."""

    live: "Mapping[DriverLoad, uuid.UUID]"
    """The payouts for the orders' loads that are alive."""
    there: frozenset[uuid.UUID]
    """The drivers of the instant ones who can be paid still."""

    @classmethod
    def of(cls, live: "Mapping[DriverLoad, uuid.UUID] | None", there: frozenset[uuid.UUID] | None) -> "LockedState":
        """Of the answers to `locked_state_queries`."""
        return cls(live or {}, there or frozenset())


def locked_state_queries(
    orders: Sequence[PayoutOrder],
) -> "tuple[Query[dict[DriverLoad, uuid.UUID]] | None, Query[frozenset[uuid.UUID]] | None]":
    """Asks for a `LockedState`, by somebody who holds the wallets' lock when it is answered."""
    return _living(ordered_loads(orders)), _remaining(orders)


def accept_payouts(
    connection: sa.Connection,
    orders: Sequence[PayoutOrder],
    known: OrderContext,
    available: Mapping[uuid.UUID, int],
    now: datetime,
    *,
    grace: timedelta,
    seen: LockedState | None = None,
    beside: Callable[[list[PayoutRow | Refusal]], Sequence[Query[None] | None]] = lambda answers: (),
) -> list[PayoutRow | Refusal]:
    """Accepts the orders that can be paid; an answer for each, in order.

    An order that the balance no longer covers is refused, its neighbours succeed: funds go in order of arrival.
    `known` is what `load_order_context` read for them, `available` what `ledger.lock_wallets` returned for their
    wallets, whose lock
    the caller holds; `grace` is how long the doorbell has before the tick rings for them too. `seen` is what
    `locked_state_queries` found, from a caller who has asked already; `beside` says what else is to be written, of the
    answers, in the same round trip.
    """
    left = dict(available)
    answers: list[PayoutRow | Refusal] = []
    live, there = seen or LockedState.of(*ask(connection, *locked_state_queries(orders)))
    live = dict(live)
    for order in orders:
        try:
            if order.rail is Rail.INSTANT and order.driver_id not in there:
                raise _unknown(order)
            row = validate_order(order, known, live, now)
            if row.amount_cents > left[order.wallet_id] or order.scenario is Scenario.INSUFFICIENT_FUNDS:
                raise InsufficientFunds(
                    "The wallet's available balance does not cover this payout",
                    available=left[order.wallet_id],
                    required=row.amount_cents,
                )
        except Refusal as refusal:
            answers.append(refusal)
        else:
            left[order.wallet_id] -= row.amount_cents
            add_live_payout(live, row)
            answers.append(row)
    accepted = [answer for answer in answers if isinstance(answer, PayoutRow)]
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
        done = ask(connection, *writes, *beside(answers))
    else:
        *done, queued, items, may_be_doubles = ask(connection, *writes, *_setting_out(instant, now))
        finish_transitions(connection, [queued], now)
        sent = prepare_outgoing_payouts(connection, items, may_be_doubles, now, reason="instant").rows
        sent_on = {row.id: row for row in (*queued.rows, *sent)}
        answers = [sent_on.get(answer.id, answer) if isinstance(answer, PayoutRow) else answer for answer in answers]
        ask(connection, *beside(answers))
    if accepted:
        ledger.write_low_balance_events(connection, done[len(writes) - 1], now)
        count_accepted(connection, len(accepted))
    return answers


def payability_error(status: str, kyc_status: str) -> NotPayable | None:
    """Why a driver in this state can't be paid; None if the driver can. Asked at acceptance and at queueing."""
    if kyc_status == "rejected":
        return NotPayable("The provider could not verify this driver", code="KYC_REJECTED", field="driverId")
    if status == "inactive":
        return NotPayable("This driver is inactive", code="DRIVER_INACTIVE", field="driverId")
    if status != "active" or kyc_status != "verified":
        return NotPayable(
            "This driver is not verified by the provider yet; try again once kycStatus is verified",
            code="KYC_PENDING",
            field="driverId",
            status=status,
            kycStatus=kyc_status,
        )
    return None


def _unknown(order: PayoutOrder) -> NotFound:
    return NotFound(f"No driver {named(DRIVER, order.driver_reference)}", code="DRIVER_NOT_FOUND", field="driverId")


_DRIVERS: Final = sa.text("""
    SELECT drivers.id, wallet_id, name, status, kyc_status, duplicate_loads
    FROM drivers JOIN wallets ON wallets.id = wallet_id WHERE drivers.id = ANY(:ids) AND deleted_at IS NULL
""")

_REMAINING: Final = sa.text("""
    SELECT drivers.id FROM drivers JOIN json_to_recordset(CAST(:asked AS json)) AS asked (id uuid, wallet_id uuid)
        ON asked.id = drivers.id AND asked.wallet_id = drivers.wallet_id
    WHERE deleted_at IS NULL ORDER BY drivers.id FOR KEY SHARE OF drivers
""")


def _remaining(orders: Sequence[PayoutOrder]) -> Query[frozenset[uuid.UUID]] | None:
    """Asks which drivers of instant payouts have not been deleted since they were read: those payouts set out at once,
    while the others are looked at again when they are queued. A delete waits for us. Another wallet's driver is not
    even locked.
    """
    pairs = {(order.driver_id, order.wallet_id) for order in orders if order.rail is Rail.INSTANT and order.driver_id}
    if not pairs:
        return None
    asked = as_rows({"id": driver_id, "wallet_id": wallet_id} for driver_id, wallet_id in pairs)
    return Query(_REMAINING, {"asked": asked}, lambda rows: frozenset(row[0] for row in rows))


DriverLoad = tuple[uuid.UUID, str]
"""A driver and a load of his."""


def ordered_loads(orders: Sequence[PayoutOrder]) -> set[DriverLoad]:
    """The loads that the orders would pay for."""
    return {(order.driver_id, order.load_id) for order in orders if order.driver_id and order.load_id is not None}


def live_payouts_by_load(connection: sa.Connection, loads: Collection[DriverLoad]) -> dict[DriverLoad, uuid.UUID]:
    """The first live payout of each of these loads: not failed, canceled or returned, or one about which the provider
    contradicts itself. A driver who was deleted and registered again is the same one.

    The caller holds the wallets' lock, and so does whoever writes a payout: two requests at the same instant can't
    both find a load free.
    """
    [found] = ask(connection, _living(loads))
    return found or {}


_LIVING: Final = sa.text("""
    SELECT DISTINCT ON (asked.driver_id, asked.load_id) asked.driver_id, asked.load_id, first.id
    FROM json_to_recordset(CAST(:loads AS json)) AS asked (driver_id uuid, load_id text)
    JOIN drivers AS named ON named.id = asked.driver_id
    JOIN drivers AS same ON same.wallet_id = named.wallet_id AND same.ovn_driver_id = named.ovn_driver_id
    JOIN LATERAL (
        SELECT id FROM payouts
        WHERE payouts.driver_id = same.id AND payouts.load_id = asked.load_id AND payouts.load_id IS NOT NULL
              AND (status IN ('validated', 'queued', 'processing', 'completed') OR held_reason IS NOT NULL)
        OFFSET 0
    ) AS first ON true
    ORDER BY asked.driver_id, asked.load_id, first.id
""")
"""No LIMIT inside: for the first by id, the planner would rather walk through all payouts of the driver."""


def _living(loads: Collection[DriverLoad]) -> Query[dict[DriverLoad, uuid.UUID]] | None:
    if not loads:
        return None
    asked = as_rows({"driver_id": driver_id, "load_id": load_id} for driver_id, load_id in loads)
    return Query(_LIVING, {"loads": asked}, lambda rows: {(row[0], row[1]): row[2] for row in rows})


def add_live_payout(live: dict[DriverLoad, uuid.UUID], row: PayoutRow) -> None:
    """Adds a payout that is about to be written: the next one for its load, in the same request, is a double."""
    if row.load_id is not None:
        live.setdefault((row.driver_id, row.load_id), row.id)


def duplicate_payout_error(payout_id: uuid.UUID, hint: str) -> Conflict:
    """The refusal of a second payout for a driver's load, by the wallet's policy."""
    first = show(PAYOUT, payout_id)
    return Conflict(
        f"{first} pays this driver for this load already; {hint}",
        code="DUPLICATE_PAYOUT",
        field="loadId",
        payoutId=first,
    )


def validate_order(
    order: PayoutOrder, known: OrderContext, live: Mapping[DriverLoad, uuid.UUID], now: datetime
) -> PayoutRow:
    """The payout that an order becomes, funds aside; raises a Refusal that says why not."""
    driver = known.drivers.get((order.wallet_id, order.driver_id)) if order.driver_id else None
    if driver is None:
        raise _unknown(order)
    pending = order.scenario is Scenario.KYC_PENDING
    refusal = payability_error(*(("pending", "pending") if pending else (driver.status, driver.kyc_status)))
    if refusal is not None:
        refusal.details["driverId"] = show(DRIVER, driver.id)
        raise refusal
    limit_cents = RAIL_LIMIT_CENTS[order.rail]
    if order.amount_cents > limit_cents:
        raise Invalid(
            f"amount must be at most {limit_cents} cents for {order.rail} payouts", field="amount", limit=limit_cents
        )
    fee_cents = known.price_list.fee_cents(order.rail, order.amount_cents, in_batch=order.batch_id is not None)
    if fee_cents >= order.amount_cents:
        raise Invalid(f"amount must be more than the fee of {fee_cents} cents", field="amount", fee=fee_cents)
    first = live.get((driver.id, order.load_id)) if order.load_id is not None else None
    refused = order.refuse_duplicate or driver.duplicate_loads == DuplicateLoads.REFUSE
    if first is not None and refused and not order.allow_duplicate:
        raise duplicate_payout_error(first, "to pay again, send allowDuplicate with a duplicateReason")
    return PayoutRow(
        id=order.id,
        wallet_id=order.wallet_id,
        driver_id=driver.id,
        driver_name=driver.name,
        load_id=order.load_id,
        amount_cents=order.amount_cents,
        fee_cents=fee_cents,
        rail=order.rail.value,
        status=PayoutStatus.VALIDATED.value,
        description=order.description,
        requested_by=order.requested_by,
        batch_id=order.batch_id,
        duplicate_of=first,
        duplicate_reason=order.duplicate_reason,
        scenario=order.scenario.value if order.scenario.is_simulated_by_provider else None,
        sequence=1,
        attempt=1,
        submission_id=None,
        failure_code=None,
        failure_message=None,
        requested_at=now,
        completed_at=None,
        canceled_at=None,
    )


_INSERT = sa.text("""
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


class _Row(msgspec.Struct):
    """A payout as it is sent to the database."""

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


_written = attrgetter(*_Row.__struct_fields__)


def write_payouts_queries(
    rows: Sequence[PayoutRow], now: datetime, due: datetime | None
) -> tuple[Query[None], Query[None]]:
    """Writes payouts once it is asked; see `write_payouts`."""
    made = as_rows(_Row(*_written(row)) for row in rows)
    events = (Event(row.wallet_id, "payout.created", row.id, row.sequence, payout_payload(row)) for row in rows)
    values = {"now": now, "due": due, "reason": ACCEPTED_REASON, "payouts": made}
    return Query(_INSERT, values, nothing), customer_events.write_events_query(events, now)


def write_payouts(connection: sa.Connection, rows: Sequence[PayoutRow], now: datetime, due: datetime | None) -> None:
    """Writes payouts as `validated`, with their first history row and their event. The caller holds the wallets'
    lock, and reserves the money of those that travel alone; those in a batch have nothing reserved, and no `due`.
    """
    if rows:
        ask(connection, *write_payouts_queries(rows, now, due))
        count_accepted(connection, len(rows))


def _setting_out(
    payout_ids: Sequence[uuid.UUID], now: datetime
) -> tuple[Query[StartedTransition] | None, Query[list[OutgoingPayout]], Query[bool]]:
    """Takes instant payouts to `queued`, once it is asked, and on: what is needed to take them to `processing`, each
    with its submission. One that may not go on yet stays `queued`.
    """
    moves = [Move(payout_id, "instant", next_action_at=now) for payout_id in payout_ids]
    return start_transition_query(moves, PayoutStatus.VALIDATED, PayoutStatus.QUEUED, now), *outgoing_payouts_queries(
        payout_ids
    )
