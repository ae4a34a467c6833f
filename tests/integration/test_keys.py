"""API keys and sessions: request, approval, regeneration, revocation and expiry."""

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple

import pytest
import sqlalchemy as sa

from shared.identity import api_keys, sessions
from shared.identity.api_keys.change import regenerate_key, revoke_key
from shared.identity.api_keys.request import approve_key, reject_key, request_key
from shared.identity.api_keys.rows import IssuedKey, NewKey
from shared.identity.users import check_password
from shared.platform.errors import Conflict, Forbidden, NotFound
from shared.platform.ids import new_id
from shared.schema.organizations import Mode
from tests.support.world import World

PEPPER = "a pepper for tests"


class Office(NamedTuple):
    """An organization whose users manage API keys."""

    world: World
    organization_id: uuid.UUID
    owner_id: uuid.UUID

    def add_user(self, role: str) -> uuid.UUID:
        """Add a user and return their id."""
        user_id = new_id()
        self.world.execute(
            """
            INSERT INTO users (id, organization_id, email, password_hash, role, created_at)
            VALUES (:id, :organization_id, :email, 'x', :role, :now)
            """,
            id=user_id,
            organization_id=self.organization_id,
            email=f"{user_id.hex}@carrier.example",
            role=role,
            now=self.world.clock.now(),
        )
        return user_id

    def ask(self, mode: Mode, by: uuid.UUID | None = None, days: int | None = None) -> IssuedKey:
        """Request a key, by default as the owner."""
        new = NewKey("ERP", mode, ["payouts:read"], days, "we need it")
        return self.do(
            lambda connection: request_key(
                connection, self.organization_id, by or self.owner_id, new, PEPPER, self.world.clock.now()
            )
        )

    def approve(self, made: IssuedKey, by: uuid.UUID | None = None) -> IssuedKey:
        """Approve a key, by default as the owner."""
        return self.do(
            lambda connection: approve_key(
                connection, self.organization_id, by or self.owner_id, made.row.id, PEPPER, self.world.clock.now()
            )
        )

    def do(self, work: Callable[[sa.Connection], IssuedKey]) -> IssuedKey:
        """Run `work` in a transaction."""
        with self.world.engine.begin() as connection:
            return work(connection)

    def credential(self, text: str | None) -> api_keys.Credential | None:
        """Find the credential of a key."""
        assert text is not None
        with self.world.engine.begin() as connection:
            return api_keys.find_credential(connection, api_keys.hash_token(text, PEPPER), self.world.clock.now())


@pytest.fixture
def office(world: World) -> Office:
    """The world's organization."""
    [(organization_id, owner_id)] = world.rows(
        """
        SELECT organization_id, users.id FROM users JOIN wallets USING (organization_id) WHERE wallets.id = :id
        """,
        id=world.wallet_id,
    )
    assert isinstance(organization_id, uuid.UUID)
    assert isinstance(owner_id, uuid.UUID)
    return Office(world, organization_id, owner_id)


def test_user_who_lost_a_scope_can_not_regenerate_a_key_with_it(office: Office) -> None:
    # Given an owner with a key, who became a viewer
    owner_id = office.add_user("owner")
    new = NewKey("Bank", Mode.SANDBOX, ["funding:write"], None, None)
    now = office.world.clock.now()
    made = office.do(lambda connection: request_key(connection, office.organization_id, owner_id, new, PEPPER, now))
    office.world.execute("UPDATE users SET role = 'viewer' WHERE id = :id", id=owner_id)
    with pytest.raises(Forbidden, match="funding:write"), office.world.engine.begin() as connection:
        regenerate_key(connection, office.organization_id, owner_id, made.row.id, PEPPER, now)


def test_sandbox_key_works_at_once_with_its_scopes_until_it_expires(office: Office) -> None:
    made = office.ask(Mode.SANDBOX, days=1)
    credential = office.credential(made.text)
    assert credential is not None
    assert (credential.wallet_id, credential.scopes) == (office.world.wallet_id, frozenset({"payouts:read"}))
    office.world.clock.advance(days=1, seconds=1)
    assert office.credential(made.text) is None


def test_production_key_is_generated_by_its_approval(office: Office) -> None:
    """A sole owner may approve their own request; a second approval is refused."""
    asked = office.ask(Mode.PRODUCTION)
    assert asked.text is None
    assert not asked.row.is_usable(office.world.clock.now())
    approved = office.approve(asked)
    credential = office.credential(approved.text)
    assert credential is not None
    assert credential.mode == "production"
    with pytest.raises(Conflict):
        office.approve(asked)


def test_own_request_must_be_approved_by_another_approver(office: Office) -> None:
    admin = office.add_user("admin")
    asked = office.ask(Mode.PRODUCTION)
    with pytest.raises(Forbidden):
        office.approve(asked)
    assert office.credential(office.approve(asked, by=admin).text) is not None


def test_rejected_key_can_be_neither_approved_nor_regenerated(office: Office) -> None:
    asked = office.ask(Mode.PRODUCTION)
    now = office.world.clock.now()
    with office.world.engine.begin() as connection:
        row = reject_key(connection, office.organization_id, office.owner_id, asked.row.id, "no", now)
        assert (row.approval_status, row.rejection_reason) == ("rejected", "no")
    with pytest.raises(Conflict):
        office.approve(asked)
    with pytest.raises(Conflict), office.world.engine.begin() as connection:
        regenerate_key(connection, office.organization_id, office.owner_id, asked.row.id, PEPPER, now)


def test_regenerated_key_replaces_the_old_text_under_the_same_id(office: Office) -> None:
    made = office.ask(Mode.SANDBOX)
    with office.world.engine.begin() as connection:
        anew = regenerate_key(
            connection, office.organization_id, office.owner_id, made.row.id, PEPPER, office.world.clock.now()
        )
    assert anew.row.id == made.row.id
    assert office.credential(made.text) is None
    assert office.credential(anew.text) is not None


def test_revoked_key_is_refused_and_can_not_be_revoked_again(office: Office) -> None:
    made = office.ask(Mode.SANDBOX)
    with office.world.engine.begin() as connection:
        revoke_key(connection, office.organization_id, made.row.id, office.world.clock.now(), user_id=office.owner_id)
    assert office.credential(made.text) is None
    with pytest.raises(Conflict), office.world.engine.begin() as connection:
        revoke_key(connection, office.organization_id, made.row.id, office.world.clock.now())


def test_keys_of_other_users_and_organizations_are_unknown(office: Office, engine: sa.Engine) -> None:
    made, now = office.ask(Mode.SANDBOX), office.world.clock.now()
    with pytest.raises(NotFound), office.world.engine.begin() as connection:
        revoke_key(connection, office.organization_id, made.row.id, now, user_id=office.add_user("developer"))
    with pytest.raises(NotFound), office.world.engine.begin() as connection:
        revoke_key(connection, new_id(), made.row.id, now)


def test_last_use_is_written_at_most_once_a_minute(office: Office) -> None:
    made = office.ask(Mode.SANDBOX)

    def last_used() -> object:
        [(moment,)] = office.world.rows("SELECT last_used_at FROM api_keys WHERE id = :id", id=made.row.id)
        return moment

    office.credential(made.text)
    first = last_used()
    assert first is not None
    office.world.clock.advance(seconds=59)
    office.credential(made.text)
    assert last_used() == first
    office.world.clock.advance(seconds=2)
    office.credential(made.text)
    assert last_used() == office.world.clock.now()


def test_session_ends_when_idle_after_a_day_or_by_sign_out(office: Office) -> None:
    world = office.world
    with world.engine.begin() as connection:
        [(email,)] = world.rows("SELECT email FROM users WHERE id = :id", id=office.owner_id)
        found = sessions.find_user_and_password_hash(connection, str(email).upper())
        assert found is not None
        account, password_hash = found
        assert check_password(password_hash, "a password")
        assert not check_password(password_hash, "another")
        assert not check_password(None, "a password")
        tokens = [
            api_keys.hash_token(sessions.start_session(connection, account, PEPPER, world.clock.now()).token, PEPPER)
            for _ in "ab"
        ]
    idle, used = tokens

    def open_still(token: bytes) -> bool:
        with world.engine.begin() as connection:
            return sessions.find_session_user(connection, token, world.clock.now()) == account

    for _ in range(23):
        world.clock.advance(hours=1)
        assert open_still(used)
    assert not open_still(idle)
    world.clock.advance(hours=1, seconds=1)
    assert not open_still(used)
    with world.engine.begin() as connection:
        token = api_keys.hash_token(
            sessions.start_session(connection, account, PEPPER, world.clock.now()).token, PEPPER
        )
        sessions.end_session(connection, token, world.clock.now() + timedelta(seconds=1))
    assert not open_still(token)
