"""Pepper rotation invalidates no key, and shows when the previous pepper can be removed."""

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


def authenticates(world: World, *accepted: str) -> bool:
    """Return whether the sandbox key authenticates with these peppers."""
    with world.engine.begin() as connection:
        found = api_keys.authenticate_key(connection, world.sandbox_key, accepted, world.clock.now())
    return found is not None and found.wallet_id == world.wallet_id


def test_key_is_hashed_again_when_it_is_used(world: World) -> None:
    assert authenticates(world, OLD, NEW)
    assert not authenticates(world, NEW)
    assert authenticates(world, *BOTH)
    assert authenticates(world, NEW)
    assert not authenticates(world, OLD)
    # A process that is not restarted yet has them in the other order and hashes it back; both keep working.
    assert authenticates(world, OLD, NEW)
    assert authenticates(world, *BOTH)


def test_session_with_the_previous_pepper_keeps_working(world: World) -> None:
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


def test_command_counts_what_depends_on_the_previous_pepper(
    empty: sa.Engine, settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
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

    def dependents(*options: str) -> dict[str, object]:
        code = 0
        try:
            app(["keys", "pepper", "--json", *options], standalone_mode=False)
        except SystemExit as ended:
            code = int(str(ended.code))
        shown: dict[str, object] = json.loads(capsys.readouterr().out)
        assert code == (1 if any(shown.values()) else 0)
        return shown

    before = dependents()
    assert sorted(before.pop("keys")) == sorted([sandbox, production])  # type: ignore[type-var, call-overload]
    assert before == {"replacedKeys": 0, "webhooks": 2, "drivers": 1}
    # When the key is used and secrets are resealed, except one that no pepper opens, then they no longer count
    assert authenticates(world, *BOTH)
    corrupt = "UPDATE webhook_endpoints SET sealed_secret = 'x' WHERE url LIKE '%/2'"
    world.execute(corrupt)
    assert dependents("--seal") == {"keys": [production], "replacedKeys": 0, "webhooks": 1, "drivers": 1}
    # When details are passed on, the unused key is revoked and that endpoint deleted, then nothing counts
    world.execute("UPDATE drivers SET sealed_details = NULL")
    world.execute("UPDATE api_keys SET revoked_at = now() WHERE wallet_id <> :id", id=world.wallet_id)
    world.execute("UPDATE webhook_endpoints SET deleted_at = now() WHERE url LIKE '%/2'")
    assert dependents() == {"keys": [], "replacedKeys": 0, "webhooks": 0, "drivers": 0}
    # And the secret opens with the new pepper only
    [(sealed,)] = world.rows("SELECT sealed_secret FROM webhook_endpoints WHERE deleted_at IS NULL")
    assert isinstance(sealed, bytes)
    assert signing.unseal_secret(sealed, NEW) == made.secret
    with pytest.raises(InvalidToken):
        signing.unseal_secret(sealed, OLD)


def test_secret_is_opened_by_either_pepper_and_sealed_with_the_first() -> None:
    secret = signing.generate_secret()
    assert signing.unseal_secret(signing.seal_secret(secret, OLD), BOTH) == secret
    assert signing.unseal_secret(signing.seal_secret(secret, NEW), BOTH) == secret
    with pytest.raises(InvalidToken):
        signing.unseal_secret(signing.seal_secret(secret, "a third"), BOTH)


@pytest.mark.parametrize("name", ["key_pepper", "paystream_webhook_secret"])
def test_production_rejects_a_short_or_unchanged_previous_secret(settings: Settings, name: str) -> None:
    good = "f3a1c97be2d04586" * 2
    for previous, is_rejected in (("short", True), (good, True), ("0b9d5e7c4a8f1362" * 2, False), ("", False)):
        changed = msgspec.structs.replace(settings, **{name: good, f"{name}_previous": previous})
        variable = f"OVNPAY_{name.upper()}_PREVIOUS "
        assert any(one.startswith(variable) for one in production_errors(changed)) is is_rejected, previous
