"""Sandbox reset with open payouts, and its sample data."""

import uuid

import sqlalchemy as sa

from shared.identity import api_keys
from shared.onboarding.organizations import SANDBOX_GRANT_CENTS
from shared.payouts import queries
from shared.payouts.queue import queue_validated_payouts
from shared.platform.pagination import PageRequest
from shared.sandbox import seed
from shared.sandbox.reset import replace_sandbox_wallet
from shared.schema.payouts import PayoutStatus
from tests.support.world import GRACE, World


def wallet_of_key(world: World) -> uuid.UUID:
    """Return the wallet of the organization's sandbox key."""
    with world.engine.begin() as connection:
        found = api_keys.find_credential(
            connection, api_keys.hash_token(world.sandbox_key, "a pepper for tests"), world.clock.now()
        )
    assert found is not None
    return found.wallet_id


def reset_sandbox(world: World) -> uuid.UUID:
    """Reset the sandbox; return the new wallet."""
    with world.engine.begin() as connection:
        organization_id = connection.scalar(
            sa.text("SELECT organization_id FROM wallets WHERE id = :id"), {"id": world.wallet_id}
        )
        assert isinstance(organization_id, uuid.UUID)
        replace_sandbox_wallet(connection, organization_id, world.clock.now())
    return wallet_of_key(world)


def test_a_reset_creates_a_wallet_and_open_payouts_end_in_the_old_one(world: World) -> None:
    world.execute("UPDATE wallets SET duplicate_loads = 'refuse' WHERE id = :id", id=world.wallet_id)
    payout_ids = world.accepted(2)
    new_id = reset_sandbox(world)
    assert wallet_of_key(world) == new_id != world.wallet_id
    with world.engine.begin() as connection:
        assert queries.load_payout_page(connection, new_id, PageRequest(10)).total == 0
        queue_validated_payouts(connection, payout_ids, world.clock.now(), grace=GRACE)
    world.end(payout_ids, PayoutStatus.COMPLETED)
    assert world.statuses(payout_ids) == ["completed"] * 2
    balances = world.rows(
        "SELECT kind, balance_cents FROM accounts WHERE wallet_id = :id AND balance_cents > 0", id=new_id
    )
    assert balances == [("available", SANDBOX_GRANT_CENTS)]
    assert world.rows("SELECT duplicate_loads FROM wallets WHERE id = :id", id=new_id) == [("refuse",)]
    world.assert_ledger_consistent()
    world.assert_counters_match()


def test_a_second_reset_replaces_the_wallet_of_the_first(world: World) -> None:
    first, second = reset_sandbox(world), reset_sandbox(world)
    assert wallet_of_key(world) == second != first
    production = (
        "SELECT retired_at FROM wallets WHERE mode = 'production' AND organization_id = "
        "(SELECT organization_id FROM wallets WHERE id = :id)"
    )
    assert world.rows(production, id=first) == [(None,)]


def test_a_repeated_seed_adds_only_what_is_missing(world: World) -> None:
    """Five drivers and ten payouts in all."""
    world.execute("UPDATE wallets SET duplicate_loads = 'refuse' WHERE id = :id", id=world.wallet_id)
    for expected in (10, 0):
        with world.engine.begin() as connection:
            seed.register_seed_drivers(connection, world.wallet_id, world.clock.now(), grace=GRACE)
        world.execute(
            "UPDATE drivers SET status = 'active', kyc_status = 'verified', recipient_id = ovn_driver_id || id "
            "WHERE wallet_id = :id",
            id=world.wallet_id,
        )
        with world.engine.begin() as connection:
            known = seed.load_seeded_drivers(connection, world.wallet_id)
            assert (len(known.ids), known.waiting) == (5, 0)
            made = seed.accept_seed_payouts(connection, world.wallet_id, known.ids, world.clock.now(), grace=GRACE)
        assert len(made) == expected
    world.assert_counters_match()
