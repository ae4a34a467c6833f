"""A database of its own on the measured system's server, with one wallet, its money and its drivers: yardsticks write
where the system writes, and leave nothing in its books.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import sqlalchemy as sa

from shared.funding.topups import grant_sandbox_funds
from shared.identity import api_keys
from shared.onboarding.organizations import NewOrganization, open_organization
from shared.platform.clock import SystemClock
from shared.schema import migrations
from shared.schema.organizations import Mode
from tests.benchmarks.system import DRIVERS, MONEY_CENTS, System

NAME = "yardstick"
SERVICES = ("gateway", "workers", "scheduler", "paystream")
"""Suspended while a yardstick is measured."""
_DRIVERS = """
    INSERT INTO drivers (id, wallet_id, ovn_driver_id, name, email, status, kyc_status, recipient_id, created_at,
                         updated_at)
    SELECT ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, :wallet_id, 'BENCH-' || n, 'Driver ' || n,
           'driver@bench.example', 'active', 'verified', 'rec_b' || n, now(), now()
      FROM generate_series(0, :drivers - 1) n
"""


class Ground(NamedTuple):
    """The database of a yardstick."""

    engine: sa.Engine
    organization_id: uuid.UUID
    wallet_id: uuid.UUID
    driver_ids: list[uuid.UUID]

    @property
    def url(self) -> str:
        """The URL for other programs."""
        url = self.engine.url.set(drivername="postgresql")
        return url.render_as_string(hide_password=False)


@contextmanager
def ground(system: System) -> Iterator[Ground]:
    """Create the database, and drop it at the end; services are suspended meanwhile."""
    with system.suspended(*SERVICES), system.database() as server:
        server.execute(f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
        server.execute(f"CREATE DATABASE {NAME}")
        with system.engine(pool_size=4, database=NAME) as engine:
            migrations.upgrade_database(engine)
            yield _settled(engine)
        server.execute(f"DROP DATABASE {NAME} WITH (FORCE)")


def _settled(engine: sa.Engine) -> Ground:
    opening = NewOrganization(
        name="Yardstick",
        owner_email="owner@yardstick.example",
        owner_password="a password",
        sandbox_key=api_keys.generate_key(Mode.SANDBOX),
        production_key=api_keys.generate_key(Mode.PRODUCTION),
    )
    now = SystemClock().now()
    with engine.begin() as connection:
        organization_id = open_organization(connection, opening, "a pepper for a yardstick", now)
        wallet_id = connection.scalar(
            sa.text("SELECT id FROM wallets WHERE organization_id = :id AND mode = 'sandbox'"), {"id": organization_id}
        )
        assert isinstance(wallet_id, uuid.UUID)
        grant_sandbox_funds(connection, wallet_id, MONEY_CENTS, now)
        connection.execute(sa.text(_DRIVERS), {"wallet_id": wallet_id, "drivers": DRIVERS})
        found = connection.scalars(sa.text("SELECT id FROM drivers ORDER BY id"))
        driver_ids = list(found)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM ANALYZE"))
    return Ground(engine, organization_id, wallet_id, driver_ids)
