"""A busy wallet violates no invariant, and each invariant reports exactly its own violation.

Violations are planted by SQL as the tables' owner, because the services can't, in a transaction that is rolled back.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import pytest
import sqlalchemy as sa

from shared.controls.invariants import INVARIANTS, INVARIANTS_BY_NAME, KeySlice
from shared.platform.ids import BATCH, PAYOUT, public_id
from shared.reporting.analytics import fold
from shared.schema.controls import Violation
from tests.integration.busy_wallet import Busy
from tests.support.world import World


@pytest.fixture(scope="module")
def busy(engine: sa.Engine) -> Busy:
    """A wallet with payouts in every state."""
    made = Busy(World(engine))
    made.live()
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


def test_busy_wallet_has_no_violations(busy: Busy) -> None:
    assert busy.world.violations() == []


class Plant(NamedTuple):
    """A violation to plant."""

    invariant: str
    about: str
    """The payout or batch that the explanation names; empty: none."""
    says: str
    """A part of the explanation."""
    statement: str
    others: tuple[str, ...] = ()
    """Other invariants that the same statement violates."""


ITEM = "(SELECT submission_id FROM submission_items WHERE payout_id = :{} AND NOT dissolved)"

PLANTS = (
    Plant(
        "paid_once",
        "retried",
        "several payments",
        """UPDATE provider_events SET type = 'payment.completed', status = 'ignored' WHERE payment_id = (
           SELECT provider_payment_id FROM submission_items WHERE payout_id = :retried AND attempt = 1)""",
    ),
    Plant(
        "paid_once",
        "",
        "has not rejected",
        """UPDATE submissions SET status = 'unknown', answered_at = NULL WHERE id = (
           SELECT submission_id FROM submission_items WHERE payout_id = :released_payout AND dissolved)""",
    ),
    Plant(
        "paid_once",
        "processing",
        "its submission does not request that",
        "UPDATE payouts SET submission_id = gen_random_uuid() WHERE id = :processing",
    ),
    Plant(
        "paid_as_ordered",
        "unknown",
        "44501 cents are requested",
        "UPDATE submission_items SET net_cents = net_cents + 1 WHERE payout_id = :unknown",
    ),
    Plant(
        "paid_as_ordered",
        "released_payout",
        "the request says recipient rec_x",
        """UPDATE submissions SET request = jsonb_set(request, '{payments,0,recipientId}', '"rec_x"') WHERE id = """
        + ITEM.format("released_payout"),
    ),
    Plant(
        "paid_as_ordered",
        "processing",
        "the request says rail rtp",
        "UPDATE submissions SET request = jsonb_set(request, '{rail}', '\"rtp\"') WHERE id = "
        + ITEM.format("processing"),
    ),
    Plant(
        "paid_as_ordered",
        "completed",
        "was applied, our record says 44500",
        "UPDATE provider_events SET amount_cents = 45000 WHERE payout_id = :completed AND status = 'applied'",
    ),
    Plant(
        "ends_match_provider",
        "completed",
        "recorded as paid by a webhook",
        "UPDATE provider_events SET status = 'ignored' WHERE payout_id = :completed",
    ),
    Plant(
        "ends_match_provider",
        "failed",
        "it is failed, but Paystream says",
        """UPDATE provider_events SET type = 'payment.completed', status = 'ignored'
           WHERE payout_id = :failed AND type = 'payment.created'""",
    ),
    Plant(
        "ends_match_provider",
        "refused",
        "Paystream's answer was accepted",
        "UPDATE submissions SET status = 'accepted' WHERE id = " + ITEM.format("refused"),
    ),
    Plant(
        "money_follows_status",
        "failed",
        "attempt 7 has moved money",
        "UPDATE transfers SET attempt = 7 WHERE payout_id = :failed AND kind = 'release'",
    ),
    Plant(
        "money_follows_status",
        "failed",
        "release 90000 cents instead of 45000",
        """INSERT INTO transfers (id, wallet_id, from_account, to_account, amount_cents, kind, payout_id, attempt,
           available_after_cents, created_at)
           SELECT gen_random_uuid(), wallet_id, from_account, to_account, amount_cents, kind, payout_id, attempt,
           available_after_cents, created_at FROM transfers WHERE payout_id = :failed AND kind = 'release'""",
        ("accounts",),
    ),
    Plant(
        "accounts",
        "",
        "external has",
        """UPDATE accounts SET balance_cents = balance_cents + CASE kind WHEN 'fees' THEN 1 ELSE -1 END
           WHERE wallet_id = :wallet AND kind IN ('fees', 'external')""",
    ),
    Plant(
        "accounts",
        "",
        "by the one before it should be",
        """UPDATE transfers SET available_after_cents = available_after_cents + 1
           WHERE payout_id = :completed AND kind = 'reserve'""",
    ),
    Plant(
        "balances",
        "",
        "pending_funding is -5 cents",
        """ALTER TABLE accounts DROP CONSTRAINT ck_accounts_balance_not_negative;
           UPDATE accounts SET balance_cents = -5 WHERE wallet_id = :wallet AND kind = 'pending_funding'""",
        ("accounts",),
    ),
    Plant(
        "histories",
        "completed",
        "step 3 follows step 1",
        "DELETE FROM payout_transitions WHERE payout_id = :completed AND sequence = 2",
    ),
    Plant(
        "histories",
        "queued",
        "its history ends at queued after 2 steps",
        "UPDATE payouts SET sequence = 3 WHERE id = :queued",
    ),
    Plant(
        "histories",
        "validated",
        "nothing to processing, is not allowed",
        "UPDATE payout_transitions SET to_status = 'processing' WHERE payout_id = :validated",
        ("customer_events_written",),
    ),
    Plant(
        "keys_pay_once",
        "",
        "under an idempotency key that was used before",
        """INSERT INTO audit_entries SELECT organization_id, gen_random_uuid(), wallet_id, at + interval '1 s',
           actor_kind, user_id, key_id, address, request_id, action, object_kind, 'pay_another', before, after
           FROM audit_entries WHERE object_id = :asked_shown""",
    ),
    Plant(
        "answers_have_rows",
        "",
        "says it was created, but it does not exist",
        """UPDATE idempotency_keys SET answer = convert_to(replace(convert_from(answer, 'UTF8'), :asked_shown,
           'pay_01jb0000000000000000000000'), 'UTF8') WHERE wallet_id = :wallet""",
    ),
    Plant(
        "batches_released",
        "released_batch",
        "released 2 times",
        """INSERT INTO audit_entries SELECT organization_id, gen_random_uuid(), wallet_id, at, actor_kind, user_id,
           key_id, address, request_id, action, object_kind, object_id, before, after
           FROM audit_entries WHERE object_id = :released_batch_shown AND action = 'batch.release'""",
    ),
    Plant(
        "batches_released",
        "released_batch",
        "s before its time",
        """UPDATE batches SET scheduled_for = released_at + interval '10 s' WHERE id = :released_batch;
           UPDATE audit_entries SET actor_kind = 'system' WHERE object_id = :released_batch_shown""",
    ),
    Plant(
        "batches_released",
        "released_batch",
        "1 of its payouts were queued at another time",
        """UPDATE payout_transitions SET created_at = created_at + interval '1 s'
           WHERE payout_id = :released_payout AND sequence = 2""",
    ),
    Plant(
        "deadlines",
        "queued",
        "it is in progress, but has no next action",
        "UPDATE payouts SET next_action_at = NULL WHERE id = :queued",
    ),
    Plant(
        "customer_events_written",
        "returned",
        "has no event payout.returned",
        "DELETE FROM customer_events WHERE payout_id = :returned AND type = 'payout.returned'",
    ),
    Plant(
        "deliveries_written",
        "",
        "has no delivery to https://example.com/",
        """DELETE FROM webhook_deliveries WHERE event_id = (
           SELECT id FROM customer_events WHERE payout_id = :returned AND type = 'payout.returned')""",
    ),
    Plant(
        "analytics_agree",
        "",
        "totals: fee by day",
        "UPDATE analytics_totals SET fee_cents = fee_cents + 1 WHERE wallet_id = :wallet AND grain = 'day'",
    ),
)


def test_each_invariant_has_a_planted_violation() -> None:
    assert {plant.invariant for plant in PLANTS} == {invariant.name for invariant in INVARIANTS}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: f"{plant.invariant}: {plant.says}")
def test_violation_is_reported_by_its_invariant_alone(busy: Busy, plant: Plant) -> None:
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


def test_row_in_progress_violates_its_own_deadline(busy: Busy) -> None:
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
