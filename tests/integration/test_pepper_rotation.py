"""Rotating the pepper: nobody is locked out on the way, and one sees when the previous one can go."""

import json
from datetime import timedelta

import msgspec
import pytest
import sqlalchemy as sa
from cryptography.fernet import InvalidToken

from shared.cli.main import app
from shared.drivers import bank_details
from shared.events import endpoints, signing
from shared.identity import api_keys, sessions
from shared.identity.api_keys.tokens import generate_session_token
from shared.platform.ids import KEY, new_id, public_id
from shared.platform.settings import Settings
from shared.platform.settings_validation import production_errors
from shared.schema import migrations
from tests.support.world import World

OLD, NEW = "a pepper for tests", "another pepper for tests"
BOTH = (NEW, OLD)


def identified(world: World, *accepted: str) -> bool:
    """Whether the sandbox key opens its wallet by these peppers."""
    with world.engine.begin() as connection:
        found = api_keys.authenticate_key(connection, world.sandbox_key, accepted, world.clock.now())
    return found is not None and found.wallet_id == world.wallet_id


def test_a_key_is_hashed_anew_when_it_is_used(world: World) -> None:
    """Given both peppers everywhere, then exchanged: it works throughout, and at last without the old one."""
    assert identified(world, OLD, NEW)
    assert not identified(world, NEW)
    assert identified(world, *BOTH)
    assert identified(world, NEW)
    assert not identified(world, OLD)
    # A process that is not restarted yet has them the other way round: that hashes it back, and both go on.
    assert identified(world, OLD, NEW)
    assert identified(world, *BOTH)


def test_a_session_of_before_goes_on(world: World) -> None:
    """To its end, within a day."""
    token, now = generate_session_token(), world.clock.now()
    world.execute(
        """
        INSERT INTO sessions (id, user_id, token_hash, created_at, last_seen_at, expires_at)
        SELECT :id, id, :hash, :now, :now, :until FROM users WHERE organization_id = :organization
        """,
        id=new_id(),
        hash=api_keys.hash_token(token, OLD),
        now=now,
        until=now + timedelta(hours=1),
        organization=world.organization_id,
    )
    with world.engine.begin() as connection:
        hashes = [api_keys.hash_token(token, pepper) for pepper in BOTH]
        found = sessions.find_session_user_by_hashes(connection, hashes, now)
        assert found is not None
        assert found.organization_id == world.organization_id
        assert sessions.find_session_user_by_hashes(connection, hashes[:1], now) is None


def test_operators_see_when_the_old_one_can_go(
    empty: sa.Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The keys, the webhooks and the bank details that need it are counted; and not once they are done with."""
    migrations.upgrade_database(empty)
    world = World(empty)
    with empty.begin() as connection:
        made, _ = (
            endpoints.create_endpoint(connection, world.wallet_id, url, ["payout.failed"], OLD, world.clock.now())
            for url in ("https://hooks.example/", "https://hooks.example/2")
        )
    bank = bank_details.DriverDetails(
        bank_details.BankAccount(account_number="000123456789", routing_number="021000021")
    )
    driver_id = world.driver()
    world.execute(
        "UPDATE drivers SET sealed_details = :d WHERE id = :id", d=bank_details.encrypt_details(bank, OLD), id=driver_id
    )
    keys_made = "SELECT id FROM api_keys ORDER BY wallet_id = :id DESC"
    sandbox, production = [public_id(KEY, row[0]) for row in world.rows(keys_made, id=world.wallet_id)]  # type: ignore[arg-type]
    monkeypatch.setenv("OVNPAY_DATABASE_URL", empty.url.render_as_string(hide_password=False))
    monkeypatch.setenv("OVNPAY_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("OVNPAY_KEY_PEPPER", NEW)
    monkeypatch.setenv("OVNPAY_KEY_PEPPER_PREVIOUS", OLD)

    def left(*words: str) -> dict[str, object]:
        code = 0
        try:
            app(["keys", "pepper", "--json", *words], standalone_mode=False)
        except SystemExit as ended:
            code = int(str(ended.code))
        shown: dict[str, object] = json.loads(capsys.readouterr().out)
        assert code == (1 if any(shown.values()) else 0)
        return shown

    before = left()
    assert sorted(before.pop("keys")) == sorted([sandbox, production])  # type: ignore[type-var, call-overload]
    assert before == {"replacedKeys": 0, "webhooks": 2, "drivers": 1}
    # When the key is used, and secrets sealed anew, all but one that was sealed under a pepper that nobody knows
    assert identified(world, *BOTH)
    strange = "UPDATE webhook_endpoints SET sealed_secret = 'x' WHERE url LIKE '%/2'"
    world.execute(strange)
    assert left("--seal") == {"keys": [production], "replacedKeys": 0, "webhooks": 1, "drivers": 1}
    # And once the details are passed on, the unused key revoked, and that webhook deleted
    world.execute("UPDATE drivers SET sealed_details = NULL")
    world.execute("UPDATE api_keys SET revoked_at = now() WHERE wallet_id <> :id", id=world.wallet_id)
    world.execute("UPDATE webhook_endpoints SET deleted_at = now() WHERE url LIKE '%/2'")
    assert left() == {"keys": [], "replacedKeys": 0, "webhooks": 0, "drivers": 0}
    # Then nothing needs the old one
    [(sealed,)] = world.rows("SELECT sealed_secret FROM webhook_endpoints WHERE deleted_at IS NULL")
    assert isinstance(sealed, bytes)
    assert signing.unseal_secret(sealed, NEW) == made.secret
    with pytest.raises(InvalidToken):
        signing.unseal_secret(sealed, OLD)


def test_what_is_sealed_is_opened_by_either_and_sealed_by_the_first() -> None:
    secret = signing.generate_secret()
    assert signing.unseal_secret(signing.seal_secret(secret, OLD), BOTH) == secret
    assert signing.unseal_secret(signing.seal_secret(secret, NEW), BOTH) == secret
    with pytest.raises(InvalidToken):
        signing.unseal_secret(signing.seal_secret(secret, "a third"), BOTH)


@pytest.mark.parametrize("name", ["key_pepper", "paystream_webhook_secret"])
def test_production_refuses_a_previous_secret_that_is_none(settings: Settings, name: str) -> None:
    """Short, or the same: neither rotates anything."""
    good = "f3a1c97be2d04586" * 2
    for previous, refused in (("short", True), (good, True), ("0b9d5e7c4a8f1362" * 2, False), ("", False)):
        changed = msgspec.structs.replace(settings, **{name: good, f"{name}_previous": previous})
        variable = f"OVNPAY_{name.upper()}_PREVIOUS "
        assert any(one.startswith(variable) for one in production_errors(changed)) is refused, previous
