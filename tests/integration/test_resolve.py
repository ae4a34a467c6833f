"""Resolution: reviewers decide an unknown outcome, two in production, and it is applied once."""

import threading
import uuid
from datetime import timedelta

import pytest
import sqlalchemy as sa

from shared.controls.reconciliation import compare
from shared.holds import cases
from shared.identity import users
from shared.payouts import provider_results
from shared.payouts.apply_resolution import Resolution
from shared.payouts.on_hold import put_payouts_on_hold
from shared.payouts.payment_updates import PaymentUpdate, UpdateStatus
from shared.payouts.resolve import ResolutionResult, Reviewer, resolve_payout
from shared.payouts.settle import settle_payouts
from shared.platform.errors import Conflict, DomainError
from shared.schema.organizations import Role
from tests.support.world import World

OPERATOR = Reviewer("root@host", None)


def unresolved_payout(world: World, *, production: bool = False) -> uuid.UUID:
    """A payout that the provider does not find after its key's lifetime."""
    [payout_id], held = world.leased_submission()
    with world.engine.begin() as connection:
        provider_results.mark_unresolved(connection, held, world.clock.now())
    if production:  # swap the modes of both wallets; retired wallets may share a mode for a moment
        world.execute(
            "UPDATE wallets SET mode = CASE mode WHEN 'sandbox' THEN 'production' ELSE 'sandbox' END, "
            "retired_at = now() WHERE organization_id = :id",
            id=world.organization_id,
        )
    return payout_id


def new_reviewer(world: World) -> Reviewer:
    """A reviewer with their own user."""
    email = f"{uuid.uuid4().hex}@carrier.example"
    with world.engine.begin() as connection:
        user_id = users.add_user(connection, world.organization_id, email, "a password", Role.ADMIN, world.clock.now())
    return Reviewer(email, user_id)


def resolve(world: World, payout_id: uuid.UUID, outcome: Resolution, who: Reviewer) -> ResolutionResult:
    """Record a resolution, committed."""
    with world.engine.begin() as connection:
        return resolve_payout(connection, payout_id, outcome, "asked Paystream", who, world.clock.now())


@pytest.mark.parametrize(("outcome", "status"), [(Resolution.PAID, "completed"), (Resolution.NOT_PAID, "failed")])
def test_sandbox_needs_one_reviewer(world: World, outcome: Resolution, status: str) -> None:
    """The ledger follows, the submission is closed, and the audit log names the reviewer."""
    payout_id = unresolved_payout(world)
    before = world.balances()
    assert resolve(world, payout_id, outcome, OPERATOR) == ResolutionResult(True, status, ["root@host"])
    given_back = 45_000 if outcome is Resolution.NOT_PAID else 0
    assert world.balances().available_cents == before.available_cents + given_back
    assert world.balances().in_transit_cents == 0
    [(submission,)] = world.rows(
        "SELECT status FROM submissions WHERE id = (SELECT submission_id FROM payouts WHERE payouts.id = :id)",
        id=payout_id,
    )
    assert submission == ("accepted" if outcome is Resolution.PAID else "rejected")
    [(after,)] = world.rows(
        "SELECT after FROM audit_entries WHERE organization_id = :id AND action = 'payout.resolve'",
        id=world.organization_id,
    )
    assert after == {**dict(after), "by": ["root@host"], "outcome": outcome.value, "reason": "asked Paystream"}  # type: ignore[call-overload]
    with pytest.raises(Conflict, match="needs no resolution"):
        resolve(world, payout_id, outcome, OPERATOR)
    world.assert_ledger_consistent()


def test_production_needs_two_different_reviewers(world: World) -> None:
    """Rejected: an operator without a user, the same user twice, another outcome. The audit log has both names."""
    payout_id = unresolved_payout(world, production=True)
    ann, bob = new_reviewer(world), new_reviewer(world)
    with pytest.raises(Conflict, match="--as EMAIL"):
        resolve(world, payout_id, Resolution.PAID, OPERATOR)
    assert not resolve(world, payout_id, Resolution.PAID, ann).done
    assert world.statuses([payout_id]) == ["processing"]
    with pytest.raises(Conflict, match="second person"):
        resolve(world, payout_id, Resolution.PAID, ann)
    with pytest.raises(Conflict, match=f"{ann.name} recorded paid"):
        resolve(world, payout_id, Resolution.NOT_PAID, bob)
    assert resolve(world, payout_id, Resolution.PAID, bob) == ResolutionResult(True, "completed", [ann.name, bob.name])
    logged = world.rows(
        "SELECT action, user_id, after -> 'by' FROM audit_entries WHERE object_kind = 'payout' "
        "AND organization_id = :id AND action LIKE 'payout.%re%' AND user_id IS NOT NULL ORDER BY id",
        id=world.organization_id,
    )
    assert (("payout.resolve", bob.user_id, [ann.name, bob.name])) in logged
    world.assert_ledger_consistent()


def test_proposal_expires_after_a_day(world: World) -> None:
    """Then another outcome can be proposed."""
    payout_id = unresolved_payout(world, production=True)
    ann, bob = new_reviewer(world), new_reviewer(world)
    resolve(world, payout_id, Resolution.PAID, ann)
    world.clock.moment += timedelta(hours=25)
    assert not resolve(world, payout_id, Resolution.NOT_PAID, bob).done
    assert resolve(world, payout_id, Resolution.NOT_PAID, ann).status == "failed"


def test_concurrent_approvals_move_money_once(world: World) -> None:
    payout_id = unresolved_payout(world, production=True)
    resolve(world, payout_id, Resolution.PAID, new_reviewer(world))
    done: list[ResolutionResult | DomainError] = []

    def confirm(who: Reviewer) -> None:
        try:
            done.append(resolve(world, payout_id, Resolution.PAID, who))
        except DomainError as refusal:
            done.append(refusal)

    threads = [threading.Thread(target=confirm, args=(new_reviewer(world),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(one).__name__ for one in done) == ["Conflict", "ResolutionResult"]
    assert [kind for kind, _ in world.transfers(payout_id)] == ["reserve", "settle", "fee"]
    world.assert_ledger_consistent()


def test_payout_that_needs_no_resolution_is_rejected(world: World) -> None:
    """Neither one in progress nor one that has ended."""
    [waiting] = world.queued()
    [sent], _ = world.leased_submission()
    [failed] = world.queued()
    world.execute("UPDATE payouts SET held_reason = NULL WHERE id = :id", id=failed)
    for payout_id, why in ((waiting, "needs no resolution"), (sent, "still being retried")):
        with pytest.raises(Conflict, match=why):
            resolve(world, payout_id, Resolution.NOT_PAID, OPERATOR)
    with pytest.raises(DomainError, match="There is no payout"):
        resolve(world, uuid.uuid4(), Resolution.PAID, OPERATOR)


def test_payout_on_hold_before_submission_is_sent_or_marked_paid(world: World) -> None:
    """Not paid: it is sent. Paid: the payment at Paystream is linked to it."""
    free, paid = world.queued(2)
    with world.engine.begin() as connection:
        put_payouts_on_hold(connection, [free, paid], "it may be paid already", world.clock.now())
        now = world.clock.now()
        theirs = {"payment": "pay_there", "recipient": "rec_there", "amount": 44_750, "status": "completed"}
        kind = cases.CaseKind.MISSING_HERE
        found = cases.Difference(
            kind, f"pay_{paid.hex}", now, None, theirs, world.wallet_id, paid, None, f"p_{paid.hex}"
        )
        cases.record_differences(connection, "sandbox", [found], now)
    assert resolve(world, free, Resolution.NOT_PAID, OPERATOR).status == "queued"
    assert world.rows("SELECT held_reason, next_action_at IS NULL FROM payouts WHERE id = :id", id=free) == [
        (None, False)
    ]
    assert resolve(world, paid, Resolution.PAID, OPERATOR).status == "completed"
    # and a later update of that payment finds it
    with world.engine.begin() as connection:
        [settled] = settle_payouts(connection, [_update(f"p_{paid.hex}", "returned")], world.clock.now())
    assert (settled.status, settled.payout_id) == (UpdateStatus.APPLIED, paid)
    assert world.history(paid) == ["validated", "queued", "processing", "completed", "returned"]
    [(closed_by,)] = world.rows("SELECT closed_by FROM reconciliation_cases WHERE payout_id = :id", id=paid)
    assert closed_by == "root@host"
    world.assert_ledger_consistent()


def test_contradicting_update_after_resolution_is_put_on_hold(world: World) -> None:
    """Resolved as not paid, then reported as paid: no money moves, and it is listed as a case."""
    payout_id = unresolved_payout(world)
    resolve(world, payout_id, Resolution.NOT_PAID, OPERATOR)
    before = world.balances()
    with world.engine.begin() as connection:
        [settled] = settle_payouts(connection, [_update(None, "completed", payout_id)], world.clock.now())
    assert settled.status is UpdateStatus.MISMATCH
    assert (world.balances(), world.statuses([payout_id])) == (before, ["failed"])
    with world.engine.connect() as connection:
        assert payout_id in {one.payout_id for one in compare.find_unresolved_payouts(connection, "sandbox")}


def _update(payment: str | None, state: str, payout_id: uuid.UUID | None = None) -> PaymentUpdate:
    return PaymentUpdate(state, payment, payout_id, None, None, None, "webhook")


def test_database_rejects_approval_by_the_proposer(world: World) -> None:
    with pytest.raises(sa.exc.IntegrityError):
        world.execute(
            "INSERT INTO payout_resolutions (id, payout_id, attempt, outcome, needs_two, reason, proposed_by, "
            "proposed_at, confirmed_by) VALUES (gen_random_uuid(), gen_random_uuid(), 1, 'paid', true, 'x', 'a', "
            "now(), 'a')"
        )
