"""Settings: from the environment or from files, with an error that says what to do."""

from pathlib import Path

import pytest

from shared.settings import SettingsError, load

NEEDED = {"OVNPAY_DATABASE_URL": "postgresql://localhost/x", "OVNPAY_REDIS_URL": "redis://localhost"}


def test_numbers_are_read_and_defaults_hold() -> None:
    """One set, the others as documented."""
    settings = load({**NEEDED, "OVNPAY_GATEWAY_PORT": "9999", "OVNPAY_LEASE_SECONDS": "12.5"})
    assert (settings.gateway_port, settings.lease_seconds, settings.environment) == (9999, 12.5, "development")


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    """As Docker and Kubernetes mount it, with its line end."""
    path = tmp_path / "pepper"
    path.write_text("s3cret\n")
    assert load({**NEEDED, "OVNPAY_KEY_PEPPER_FILE": str(path)}).key_pepper == "s3cret"


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "OVNPAY_DATABASE_URL is not set"),
        ({**NEEDED, "OVNPAY_GATEWAY_PORT": "many"}, "OVNPAY_GATEWAY_PORT should be int"),
        ({**NEEDED, "OVNPAY_KEY_PEPPER_FILE": "/nowhere/at/all"}, "OVNPAY_KEY_PEPPER_FILE names /nowhere/at/all"),
        ({**NEEDED, "OVNPAY_LEASE_SECONDS": "5"}, "OVNPAY_LEASE_SECONDS must be longer"),
        ({**NEEDED, "OVNPAY_ENVIRONMENT": "staging"}, "development or production"),
        ({**NEEDED, "OVNPAY_ENVIRONMENT": "production"}, "OVNPAY_KEY_PEPPER must have at least 32"),
    ],
)
def test_a_wrong_setting_is_named(environ: dict[str, str], says: str) -> None:
    """One sentence with the variable in it."""
    with pytest.raises(SettingsError, match=says):
        load(environ)


def test_customers_may_name_this_machine_in_development_alone() -> None:
    """Whatever the setting says."""
    secrets = {"OVNPAY_KEY_PEPPER": "p" * 32, "OVNPAY_PAYSTREAM_WEBHOOK_SECRET": "s" * 32}
    production = {**NEEDED, **secrets, "OVNPAY_ENVIRONMENT": "production", "OVNPAY_WEBHOOKS_ALLOW_LOOPBACK": "true"}
    assert load(NEEDED).loopback_allowed
    assert not load({**NEEDED, "OVNPAY_WEBHOOKS_ALLOW_LOOPBACK": "false"}).loopback_allowed
    assert not load(production).loopback_allowed
