"""Sample data for the sandbox: five drivers and ten payouts, always the same; existing ones are kept."""

import uuid
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared import ledger
from shared.drivers.register import NewDriver, register_drivers
from shared.payouts.accept import accept_payouts
from shared.payouts.orders import PayoutOrder, load_order_context
from shared.payouts.rows import PayoutRow
from shared.platform.errors import DomainError
from shared.platform.ids import DRIVER, new_id, public_id
from shared.schema.payouts import Rail
from shared.schema.scenarios import Scenario

SEED_DRIVER_NAMES: Final = ("John Smith", "Jane Doe", "Maria Garcia", "Wei Chen", "Amara Okafor")

SEED_DRIVERS: Final = tuple(
    NewDriver(
        ovn_driver_id=f"SEED-DRIVER-{number}",
        name=name,
        email=f"{name.lower().replace(' ', '.')}@drivers.example",
        phone=f"+1555123456{number}",
    )
    for number, name in enumerate(SEED_DRIVER_NAMES, 1)
)


class SeedPayout(NamedTuple):
    """A sample payout."""

    load_id: str
    driver: int
    """Index of its driver in `SEED_DRIVERS`."""
    amount_cents: int
    rail: Rail = Rail.STANDARD
    scenario: Scenario = Scenario.SUCCESS


SEED_PAYOUTS: Final = (
    SeedPayout("SEED-LOAD-1", 0, 45_000),
    SeedPayout("SEED-LOAD-2", 1, 50_000),
    SeedPayout("SEED-LOAD-3", 2, 40_000),
    SeedPayout("SEED-LOAD-4", 3, 120_000),
    SeedPayout("SEED-LOAD-5", 4, 75_000, Rail.SAME_DAY),
    SeedPayout("SEED-LOAD-6", 0, 30_000, Rail.INSTANT),
    SeedPayout("SEED-LOAD-7", 1, 60_000, Rail.INSTANT),
    SeedPayout("SEED-LOAD-8", 2, 98_500),
    SeedPayout("SEED-LOAD-9", 3, 20_000, scenario=Scenario.PAYOUT_FAILED),
    SeedPayout("SEED-LOAD-10", 4, 25_000, scenario=Scenario.RETURNED),
)
"""563,500 cents in total. One fails and one is returned, to show every final status."""


class SeededDrivers(NamedTuple):
    """The sample drivers that exist, by index in `SEED_DRIVERS`."""

    ids: dict[int, uuid.UUID]
    waiting: int
    """How many of them wait for the provider's verification."""


# The sample drivers that exist, and whether they wait for verification; locks nothing.
_SEEDED_DRIVERS: Final = sa.text("""
    SELECT ovn_driver_id, id, status IN ('invited', 'pending') AND kyc_status = 'pending' AS waits FROM drivers
    WHERE wallet_id = :wallet_id AND ovn_driver_id = ANY(:names) AND deleted_at IS NULL
""")


def load_seeded_drivers(connection: sa.Connection, wallet_id: uuid.UUID) -> SeededDrivers:
    """Return the sample drivers that exist."""
    rows = connection.execute(
        _SEEDED_DRIVERS, {"wallet_id": wallet_id, "names": [driver.ovn_driver_id for driver in SEED_DRIVERS]}
    ).all()
    indexes = {driver.ovn_driver_id: index for index, driver in enumerate(SEED_DRIVERS)}
    return SeededDrivers({indexes[row.ovn_driver_id]: row.id for row in rows}, sum(row.waits for row in rows))


def register_seed_drivers(
    connection: sa.Connection, wallet_id: uuid.UUID, now: datetime, *, grace: timedelta
) -> list[uuid.UUID]:
    """Register the missing sample drivers; return their ids."""
    answers = register_drivers(connection, wallet_id, SEED_DRIVERS, now, grace=grace)
    return [answer.id for answer in answers if not isinstance(answer, DomainError)]


# The sample payouts that exist; read under the wallet's lock.
_SEEDED_LOADS: Final = sa.text(
    "SELECT load_id FROM payouts WHERE driver_id = ANY(:drivers) AND load_id LIKE 'SEED-LOAD-%'"
)


def accept_seed_payouts(
    connection: sa.Connection,
    wallet_id: uuid.UUID,
    driver_ids: Mapping[int, uuid.UUID],
    now: datetime,
    *,
    grace: timedelta,
) -> list[PayoutRow]:
    """Accept the missing sample payouts, under the wallet's lock against concurrent requests.

    Raises:
        DomainError: one can't be accepted, for instance because the wallet is empty. The caller must roll back.

    """
    available = ledger.lock_wallets(connection, [wallet_id])
    present = set(connection.scalars(_SEEDED_LOADS, {"drivers": list(driver_ids.values())}))
    orders = [
        PayoutOrder(
            id=new_id(),
            wallet_id=wallet_id,
            driver_id=driver_ids[payout.driver],
            driver_reference=public_id(DRIVER, driver_ids[payout.driver]),
            amount_cents=payout.amount_cents,
            rail=payout.rail,
            description=f"Payment for load #{payout.load_id}",
            load_id=payout.load_id,
            scenario=payout.scenario,
        )
        for payout in SEED_PAYOUTS
        if payout.load_id not in present
    ]
    outcomes = accept_payouts(connection, orders, load_order_context(connection, orders), available, now, grace=grace)
    for outcome in outcomes:
        if isinstance(outcome, DomainError):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, PayoutRow)]
