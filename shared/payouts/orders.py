"""Payout orders: the data to validate them, and the validation."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.ledger import prices
from shared.payouts.duplicate_loads import DriverLoad, duplicate_payout_error, live_payouts_query
from shared.payouts.rails import RAIL_LIMIT_CENTS
from shared.payouts.rows import PayoutRow
from shared.platform.database import encode_rows
from shared.platform.errors import InvalidRequest, NotFound, NotPayable
from shared.platform.ids import DRIVER, echo_id, public_id
from shared.platform.pipelined_queries import Query, run_queries
from shared.schema.organizations import DuplicateLoads
from shared.schema.payouts import PayoutStatus, Rail
from shared.schema.scenarios import Scenario


class PayoutOrder(NamedTuple):
    """A requested payout. Its id precedes the transaction, so a lost COMMIT can be looked up afterwards."""

    id: uuid.UUID
    wallet_id: uuid.UUID
    driver_id: uuid.UUID | None
    """None if the requested id is malformed: treated as an unknown driver."""
    driver_reference: str
    """The driver id as the request has it, for error messages."""
    amount_cents: int
    rail: Rail
    description: str | None = None
    load_id: str | None = None
    requested_by: str | None = None
    batch_id: uuid.UUID | None = None
    """A batch payout has the batch price, and its amount is reserved at the batch's release."""
    allow_duplicate: bool = False
    """Permits a second payout for the load although the wallet's policy refuses it."""
    duplicate_reason: str | None = None
    refuse_duplicate: bool = False
    """Refuses a second live payout for the load although the wallet's policy only warns."""
    scenario: Scenario = Scenario.SUCCESS
    """The scenario to simulate in the sandbox; always SUCCESS in production."""


class Payee(NamedTuple):
    """A driver's payability, and the duplicate policy of the driver's wallet."""

    id: uuid.UUID
    wallet_id: uuid.UUID
    name: str
    status: str
    kyc_status: str
    duplicate_loads: str


Payees = dict[tuple[uuid.UUID, uuid.UUID], Payee]
"""By wallet id and driver id."""


class OrderContext(NamedTuple):
    """What orders are validated against; read before the wallet is locked, to keep the lock short."""

    price_list: prices.PriceList
    payees: Payees


class LockedState(NamedTuple):
    """State read under the wallet lock."""

    available: Mapping[uuid.UUID, int]
    """Available balance in cents by wallet id; only wallets that are locked."""
    live_payouts: Mapping[DriverLoad, uuid.UUID]
    """The first live payout of each ordered load."""
    existing_drivers: frozenset[uuid.UUID]
    """Drivers of the instant orders that are not deleted."""

    @classmethod
    def of(
        cls,
        available: Mapping[uuid.UUID, int],
        live_payouts: Mapping[DriverLoad, uuid.UUID] | None,
        existing_drivers: frozenset[uuid.UUID] | None,
    ) -> "LockedState":
        """Combine the locked balances with the results of `locked_state_queries`."""
        return cls(available, live_payouts or {}, existing_drivers or frozenset())


# Reads the ordered drivers with their wallet's duplicate policy. Locks nothing.
_PAYEES: Final = sa.text("""
    SELECT drivers.id, wallet_id, name, status, kyc_status, duplicate_loads
    FROM drivers JOIN wallets ON wallets.id = wallet_id WHERE drivers.id = ANY(:ids) AND deleted_at IS NULL
""")


def order_context_queries(orders: Sequence[PayoutOrder]) -> tuple[Query[prices.PriceList], Query[Payees]]:
    """Queries for an `OrderContext`."""
    ids = list({order.driver_id for order in orders if order.driver_id is not None})
    payees = Query(_PAYEES, {"ids": ids}, lambda rows: {(row[1], row[0]): Payee._make(row) for row in rows})
    return prices.load_price_list_query(), payees


def load_order_context(connection: sa.Connection, orders: Sequence[PayoutOrder]) -> OrderContext:
    """Load an `OrderContext`."""
    return OrderContext(*run_queries(connection, *order_context_queries(orders)))


def ordered_loads(orders: Iterable[PayoutOrder]) -> set[DriverLoad]:
    """The loads that the orders pay for."""
    return {(order.driver_id, order.load_id) for order in orders if order.driver_id and order.load_id is not None}


def locked_state_queries(
    orders: Sequence[PayoutOrder],
) -> tuple[Query[dict[DriverLoad, uuid.UUID]] | None, Query[frozenset[uuid.UUID]] | None]:
    """Queries for a `LockedState`, to be run under the wallets' lock."""
    return live_payouts_query(ordered_loads(orders)), _existing_drivers_query(orders)


# Returns the drivers that are not deleted. Locks them in id order (KEY SHARE: a delete waits for this transaction);
# another wallet's driver is not locked.
_EXISTING_DRIVERS: Final = sa.text("""
    SELECT drivers.id FROM drivers JOIN json_to_recordset(CAST(:wanted AS json)) AS wanted (id uuid, wallet_id uuid)
        ON wanted.id = drivers.id AND wanted.wallet_id = drivers.wallet_id
    WHERE deleted_at IS NULL ORDER BY drivers.id FOR KEY SHARE OF drivers
""")


def _existing_drivers_query(orders: Sequence[PayoutOrder]) -> Query[frozenset[uuid.UUID]] | None:
    """Only instant payouts need this: the others' drivers are checked again when they are queued."""
    pairs = {(order.driver_id, order.wallet_id) for order in orders if order.rail is Rail.INSTANT and order.driver_id}
    if not pairs:
        return None
    wanted = encode_rows({"id": driver_id, "wallet_id": wallet_id} for driver_id, wallet_id in pairs)
    return Query(_EXISTING_DRIVERS, {"wanted": wanted}, lambda rows: frozenset(row[0] for row in rows))


def payability_error(status: str, kyc_status: str) -> NotPayable | None:
    """Why a driver in this state can't be paid, or None. Checked at acceptance and again at queueing."""
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


def driver_not_found(order: PayoutOrder) -> NotFound:
    """The error for a driver that the wallet does not have."""
    return NotFound(f"No driver {echo_id(DRIVER, order.driver_reference)}", code="DRIVER_NOT_FOUND", field="driverId")


def validate_order(
    order: PayoutOrder, context: OrderContext, live_payouts: Mapping[DriverLoad, uuid.UUID], now: datetime
) -> PayoutRow:
    """Return the payout to write, funds not checked yet.

    Raises:
        DomainError: the order can't be accepted.

    """
    payee = context.payees.get((order.wallet_id, order.driver_id)) if order.driver_id else None
    if payee is None:
        raise driver_not_found(order)
    pending = order.scenario is Scenario.KYC_PENDING
    error = payability_error(*(("pending", "pending") if pending else (payee.status, payee.kyc_status)))
    if error is not None:
        error.details["driverId"] = public_id(DRIVER, payee.id)
        raise error
    limit_cents = RAIL_LIMIT_CENTS[order.rail]
    if order.amount_cents > limit_cents:
        raise InvalidRequest(
            f"amount must be at most {limit_cents} cents for {order.rail} payouts", field="amount", limit=limit_cents
        )
    fee_cents = context.price_list.fee_cents(order.rail, order.amount_cents, in_batch=order.batch_id is not None)
    if fee_cents >= order.amount_cents:
        raise InvalidRequest(f"amount must be more than the fee of {fee_cents} cents", field="amount", fee=fee_cents)
    first = live_payouts.get((payee.id, order.load_id)) if order.load_id is not None else None
    refused = order.refuse_duplicate or payee.duplicate_loads == DuplicateLoads.REFUSE
    if first is not None and refused and not order.allow_duplicate:
        raise duplicate_payout_error(first, "to pay again, send allowDuplicate with a duplicateReason")
    return _new_row(order, payee, fee_cents, first, now)


def _new_row(
    order: PayoutOrder, payee: Payee, fee_cents: int, duplicate_of: uuid.UUID | None, now: datetime
) -> PayoutRow:
    return PayoutRow(
        id=order.id,
        wallet_id=order.wallet_id,
        driver_id=payee.id,
        driver_name=payee.name,
        load_id=order.load_id,
        amount_cents=order.amount_cents,
        fee_cents=fee_cents,
        rail=order.rail.value,
        status=PayoutStatus.VALIDATED.value,
        description=order.description,
        requested_by=order.requested_by,
        batch_id=order.batch_id,
        duplicate_of=duplicate_of,
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
