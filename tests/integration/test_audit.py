"""The audit log: an entry is committed with its action, never changes, and has no personal data."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.intake.payout_requests import PayoutRequest
from gateway.intake.payouts import PayoutIntake
from shared.batches.release_due import release_due_batches
from shared.identity import audit
from shared.identity.audit import Actor, Entry, EntryFilters, EntryRow
from shared.identity.users import add_user, reset_user_password
from shared.onboarding.organizations import set_wallet_policy
from shared.payouts.orders import PayoutOrder
from shared.payouts.rows import PayoutRow, payout_payload
from shared.platform import idempotency
from shared.platform.errors import DomainError
from shared.platform.ids import BATCH, PAYOUT, USER, WALLET, new_id, public_id
from shared.platform.pagination import PageRequest
from shared.schema.audit import Action
from shared.schema.organizations import DuplicateLoads, Mode, Role
from tests.support.payout_intake import content_of, payout_request
from tests.support.world import GRACE, World


def log(world: World, filters: EntryFilters | None = None) -> list[EntryRow]:
    """Load the organization's log, newest first."""
    with world.engine.connect() as connection:
        return list(audit.load_entries(connection, world.organization_id, PageRequest(100), filters).rows)


def record(world: World, *entries: Entry) -> None:
    """Record entries in their own transaction."""
    with world.engine.begin() as connection:
        audit.record_entries(connection, entries, world.clock.now())


def request_for(world: World, *orders: PayoutOrder, key: str | None = None) -> PayoutRequest:
    """A request for one payout or several, with the world's API key."""

    def bulk_payload(outcomes: object) -> dict[str, object]:
        assert isinstance(outcomes, list)
        return {"results": [payout_payload(row) for row in outcomes if isinstance(row, PayoutRow)]}

    one = payout_request(orders[0], key)._replace(actor=world.actor)
    return one if len(orders) == 1 else one._replace(orders=orders, shape=bulk_payload)


def test_intake_writes_an_entry_per_successful_request_in_one_statement(
    world: World, intake: PayoutIntake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A single payout, a bulk request, a refused one and a replay."""
    driver_id = world.driver()
    single = request_for(world, world.order(driver_id, 4_500), key="single")
    bulk = request_for(world, *(world.order(driver_id, 1_000) for _ in range(3)))
    refused = request_for(world, world.order(driver_id, 999_999_999))
    repeat = single._replace(orders=[world.order(driver_id, 4_500)], actor=world.actor)
    real_query, statements = audit.record_entries_query, []

    def counted_query(*arguments: Any) -> Any:
        statements.append(arguments)
        return real_query(*arguments)

    monkeypatch.setattr(audit, "record_entries_query", counted_query)
    answers = intake.flush([single, bulk, refused, repeat])
    assert [(answer.status, answer.replayed) for answer in answers] == [
        (200, False), (200, False), (400, False), (200, True),
    ]  # fmt: skip
    assert len(statements) == 1
    of_bulk, of_single = log(world, EntryFilters(action=Action.PAYOUT_CREATE))
    payout_id = content_of(answers[0])["id"]
    # The idempotency key is recorded as a hash
    assert (of_single.object_id, of_single.after) == (
        payout_id,
        {"amount": 4_500, **idempotency.audit_key_hash(single.key)},
    )
    assert (of_single.key_id, of_single.request_id) == (single.actor.key_id, single.actor.request_id)
    assert (of_single.address, of_single.mode, of_single.actor_kind) == ("192.0.2.7", "sandbox", "key")
    ids = [row["id"] for row in content_of(answers[1])["results"]]
    assert (of_bulk.object_id, of_bulk.after) == (
        None,
        {"amount": 3_000, "count": 3, "ids": ids, **idempotency.audit_key_hash(bulk.key)},
    )
    # And each payout of a bulk request is found by its own id
    assert [row.id for row in log(world, EntryFilters(object_id=ids[2]))] == [of_bulk.id]
    assert [row.id for row in log(world, EntryFilters(object_id=payout_id))] == [of_single.id]
    assert log(world, EntryFilters(object_id=public_id(PAYOUT, new_id()))) == []
    # And a replay in another flush writes none
    [again] = intake.flush([repeat])
    assert again.replayed
    assert len(log(world, EntryFilters(action=Action.PAYOUT_CREATE))) == 2


def test_entry_is_rolled_back_with_its_action(world: World) -> None:
    email = f"{uuid.uuid4().hex}@carrier.example"
    connection = world.engine.connect()
    with connection.begin() as transaction:
        add_user(connection, world.organization_id, email, "a password", Role.VIEWER, world.clock.now())
        transaction.rollback()
    connection.close()
    assert [row for row in log(world, EntryFilters(action=Action.USER_CREATE)) if row.after == {"role": "viewer"}] == []
    assert world.rows("SELECT id FROM users WHERE email = :email", email=email) == []


@pytest.mark.parametrize(
    "statement",
    ["UPDATE audit_entries SET address = 'elsewhere'", "DELETE FROM audit_entries", "TRUNCATE audit_entries"],
)
def test_entries_are_append_only(world: World, statement: str) -> None:
    before = log(world)
    assert before
    with pytest.raises(sa.exc.DBAPIError, match="append-only"):
        world.execute(statement)
    assert log(world) == before


def test_actions_of_operators_are_recorded_without_secrets(world: World) -> None:
    email, now = f"{uuid.uuid4().hex}@carrier.example", world.clock.now()
    [(organization,)] = world.rows("SELECT name FROM organizations WHERE id = :id", id=world.organization_id)
    opened = {(row.action, row.actor_kind) for row in log(world)}
    assert opened == {(action, "operator") for action in ("organization.create", "user.create", "key.create")}
    # When a user is added and gets a new password, and the sandbox's policy is set, then only read
    with world.engine.begin() as connection:
        user_id = add_user(connection, world.organization_id, email, "secret 1", Role.ADMIN, now)
        reset_user_password(connection, email, "secret 2", now)
    world.execute(
        "UPDATE organizations SET name = :name WHERE id = :id",
        name=f"{organization} {user_id}",
        id=world.organization_id,
    )
    for policy in (DuplicateLoads.REFUSE, None):
        with world.engine.begin() as connection:
            set_wallet_policy(connection, f"{organization} {user_id}", Mode.SANDBOX, policy, now)
    # Then each change has its entry
    wallet, reset, added, *_ = log(world)
    assert (wallet.action, wallet.object_id) == ("wallet.update", public_id(WALLET, world.wallet_id))
    assert (wallet.before, wallet.after) == ({"duplicate_loads": "warn"}, {"duplicate_loads": "refuse"})
    assert (reset.action, reset.object_id) == ("user.reset_password", public_id(USER, user_id))
    assert (added.action, added.object_id, added.after) == ("user.create", public_id(USER, user_id), {"role": "admin"})
    assert "@" in str(added.address)
    assert "secret" not in str(log(world))
    assert email not in str(log(world))


def test_batch_release_records_its_actor_even_if_it_fails(world: World) -> None:
    """By an API key before its time, by the system at its time; a repeated release records nothing."""
    batch, _ = world.batch(45_000)
    for _ in range(2):
        world.release(batch.id)
    [entry] = log(world, EntryFilters(object_id=public_id(BATCH, batch.id)))
    assert (entry.actor_kind, entry.before, entry.after) == ("key", {"status": "queued"}, {"status": "processing"})
    world.leave_available(1)
    due, _ = world.batch(45_000, scheduled_for=world.clock.now() - timedelta(seconds=1))
    with world.engine.begin() as connection:
        done = release_due_batches(connection, [due.id], world.clock.now(), grace=GRACE)
    assert isinstance(done[due.id], DomainError)
    [entry] = log(world, EntryFilters(object_id=public_id(BATCH, due.id)))
    assert (entry.actor_kind, entry.mode) == ("system", "sandbox")
    assert entry.after == {"status": "failed", "failure": "INSUFFICIENT_FUNDS"}


def test_filters_select_matching_entries_of_the_organization_only(world: World) -> None:
    actor, other = world.actor, World(world.engine)
    then = world.clock.now()
    record(world, Entry(actor, Action.PAYOUT_CANCEL, "pay_1"), Entry(world.actor, Action.PAYOUT_RETRY, "pay_1"))
    world.clock.advance(minutes=5)
    record(world, Entry(actor._replace(request_id=None), Action.SANDBOX_SEED, "wallet_1"))
    found = {
        "key": EntryFilters(key_id=actor.key_id),
        "request": EntryFilters(request_id=actor.request_id),
        "object": EntryFilters(object_id="pay_1"),
        "action": EntryFilters(action=Action.PAYOUT_RETRY),
        "from": EntryFilters(since=then + timedelta(minutes=5)),
        "to": EntryFilters(since=then, until=then + timedelta(microseconds=1), key_id=actor.key_id),
        "user": EntryFilters(email="unknown@carrier.example"),
    }
    actions = {name: [row.action for row in log(world, filters)] for name, filters in found.items()}
    assert actions == {
        "key": ["sandbox.seed", "payout.cancel"],
        "request": ["payout.cancel"],
        "object": ["payout.retry", "payout.cancel"],
        "action": ["payout.retry"],
        "from": ["sandbox.seed"],
        "to": ["payout.cancel"],
        "user": [],
    }
    assert all(log(other, filters) == [] for filters in found.values())
    # And the earliest and latest possible times select all or nothing
    far = datetime(9999, 12, 31, tzinfo=UTC)
    early = datetime(1, 1, 1, tzinfo=UTC)
    assert (log(world, EntryFilters(since=early, until=far)), log(world, EntryFilters(since=far))) == (log(world), [])


def test_every_filter_uses_an_index(world: World) -> None:
    """With 20,000 entries of one key, no filter scans the table."""
    indexes = {
        "pk_audit_entries": [EntryFilters(), EntryFilters(since=datetime.now(UTC))],
        "object_id_id": [EntryFilters(object_id=public_id(prefix, new_id())) for prefix in (BATCH, PAYOUT)],
        "request_id": [EntryFilters(request_id=new_id())],
        "key_id_id": [EntryFilters(key_id=new_id())],
        "user_id_id": [EntryFilters(email="a@b.example")],
        "action_id": [EntryFilters(action=Action.KEY_APPROVE)],
    }
    with world.engine.connect() as connection, connection.begin() as transaction:
        connection.execute(
            sa.text("""
                INSERT INTO audit_entries (organization_id, id, at, actor_kind, key_id, request_id, action, object_kind,
                                           object_id)
                SELECT :organization_id, gen_random_uuid(), now(), 'key', :key_id, gen_random_uuid(), 'payout.create',
                       'payout', 'pay_' || number FROM generate_series(1, 20000) AS number
            """),
            {"organization_id": world.organization_id, "key_id": new_id()},
        )
        connection.execute(sa.text("ANALYZE audit_entries"))
        for index, filters in ((index, filters) for index, several in indexes.items() for filters in several):
            where, values = audit._entry_conditions(world.organization_id, filters)
            explained = f"EXPLAIN SELECT id FROM audit_entries WHERE {where} ORDER BY id DESC LIMIT 51"
            plan = "\n".join(connection.scalars(sa.text(explained), values))
            assert index in plan, plan
            assert "Seq Scan on audit_entries" not in plan, plan
        transaction.rollback()


def test_operator_without_a_login_name_is_recorded_with_the_host_only(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_user() -> str:
        raise KeyError("getpwuid(): uid not found: 10001")

    monkeypatch.setattr("getpass.getuser", no_user)
    actor: Actor = audit.operator_actor(new_id())
    assert str(actor.address).startswith("?@")
