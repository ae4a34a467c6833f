"""A busy wallet violates no invariant, and each invariant reports exactly its own violation.

Violations are planted by SQL as the tables' owner, because the services can't, in a transaction that is rolled back.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
import sqlalchemy as sa

from shared.controls.invariants import INVARIANTS, INVARIANTS_BY_NAME, KeySlice
from shared.platform.ids import BATCH, PAYOUT, public_id
from shared.reporting.analytics import fold
from shared.schema.controls import Violation
from tests.integration.busy_wallet import BusyWallet
from tests.integration.planted_violations import PLANTS, Plant
from tests.support.world import World


@pytest.fixture(scope="module")
def busy(engine: sa.Engine) -> BusyWallet:
    """A wallet with payouts in every state."""
    made = BusyWallet(World(engine))
    made.fill()
    return made


def check(
    connection: sa.Connection,
    world: World,
    names: Sequence[str] = tuple(INVARIANTS_BY_NAME),
    now: datetime | None = None,
) -> list[Violation]:
    """Return the wallet's violations as this transaction sees them."""
    found = []
    for invariant in (INVARIANTS_BY_NAME[name] for name in names):
        subject = invariant.subject
        keys = subject.page(connection, None, subject.slice_size, [world.wallet_id]).keys
        found += invariant.violations(connection, KeySlice(keys, now or world.clock.now()))
    return found


def test_busy_wallet_has_no_violations(busy: BusyWallet) -> None:
    assert busy.world.violations() == []


def test_each_invariant_has_a_planted_violation() -> None:
    assert {plant.invariant for plant in PLANTS} == {invariant.name for invariant in INVARIANTS}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: f"{plant.invariant}: {plant.says}")
def test_violation_is_reported_by_its_invariant_alone(busy: BusyWallet, plant: Plant) -> None:
    """With the payout or batch concerned, in this wallet."""
    world = busy.world
    values: dict[str, object] = {"wallet": world.wallet_id, **busy.payouts}
    values["asked_shown"] = public_id(PAYOUT, busy.payouts["asked"])
    values["released_batch_shown"] = public_id(BATCH, busy.payouts["released_batch"])
    # Two hours later, rows without a next action are past their deadline.
    now = world.clock.now() + (timedelta(hours=2) if plant.invariant == "deadlines" else timedelta(0))
    with world.engine.connect() as connection:
        if plant.invariant == "analytics_agree":
            assert fold.fold_wallet(connection, world.wallet_id, limit=100_000)
        for table in ("transfers", "payout_transitions", "customer_events", "audit_entries"):
            if f"{table} " in plant.statement + " ":
                connection.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER append_only"))
        if "INSERT INTO transfers" in plant.statement:
            connection.execute(sa.text("DROP INDEX uq_transfers_payout_id_attempt_kind"))
        for statement in plant.statement.split(";"):
            text = sa.text(statement)
            done = connection.execute(text, {name: values[name] for name in text.compile().params})
            assert done.rowcount != 0, statement
        found = check(connection, world, now=now)
        connection.rollback()
    assert {one.invariant for one in found} == {plant.invariant, *plant.others}, found
    named = [one for one in found if one.invariant == plant.invariant]
    assert any(plant.says in one.explanation for one in named), named
    assert {one.wallet_id for one in named} == {world.wallet_id}
    if plant.about:
        prefix = BATCH if plant.about.endswith("_batch") else PAYOUT
        assert {one.explanation.partition(":")[0] for one in named} == {public_id(prefix, busy.payouts[plant.about])}


def overdue(world: World, payout_ids: dict[str, uuid.UUID], days: float) -> set[str]:
    """Return what is past its deadline by then, if nothing more happens."""
    with world.engine.connect() as connection:
        found = check(connection, world, ["deadlines"], world.clock.now() + timedelta(days=days))
    shown = {public_id(PAYOUT, payout_id): name for name, payout_id in payout_ids.items()}
    return {shown.get(name, name.partition("_")[0]) for name in (one.explanation.partition(":")[0] for one in found)}


def test_row_in_progress_violates_its_own_deadline(busy: BusyWallet) -> None:
    """First rows that wait for us, then those that wait for Paystream, by rail; a batch by its scheduled time."""
    world, payouts = busy.world, busy.payouts
    waiting = {"validated", "queued", "asked"}
    assert overdue(world, payouts, 0.9) == set()
    assert overdue(world, payouts, 1.2) == waiting
    assert overdue(world, payouts, 1.5) == waiting | {"batch"}
    assert overdue(world, payouts, 3) == waiting | {"batch", "sub", "instant"}
    assert {"processing", "unknown", "held"} <= overdue(world, payouts, 6)


def test_deadline_counts_from_the_end_of_an_outgoing_hold(engine: sa.Engine) -> None:
    world = World(engine)
    world.queued()
    hold = "INSERT INTO outgoing_holds (id, kind, wallet_id, reason, placed_by, since, lifted_at) "
    later = {"id": uuid.uuid4(), "wallet": world.wallet_id, "at": world.clock.now() + timedelta(days=9)}
    world.execute(f"{hold} VALUES (:id, 'paused', :wallet, 'x', 'x', now(), :at)", **later)
    assert overdue(world, {}, 9.9) == set()
    assert overdue(world, {}, 10.1) == {"pay"}
