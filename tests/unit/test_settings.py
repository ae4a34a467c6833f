"""Settings come from the environment or from files; an error names the variable and what to do."""

import re
from pathlib import Path

import pytest

from scheduler import __main__ as scheduler
from shared.platform import settings as settings_module
from shared.platform.settings import SettingsError
from shared.platform.settings_loading import load_settings
from shared.platform.settings_validation import production_warnings
from shared.reporting.exporter import __main__ as exporter
from tests.support.settings_samples import NEEDED, PRODUCTION, RANDOM, REDIS
from workers.context import OTHER_THREADS


def test_numbers_are_parsed_and_unset_settings_have_defaults() -> None:
    settings = load_settings({**NEEDED, "OVNPAY_GATEWAY_PORT": "9999", "OVNPAY_LEASE_SECONDS": "12.5"})
    assert (settings.gateway_port, settings.lease_seconds, settings.environment) == (9999, 12.5, "development")


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    """As Docker and Kubernetes mount it, with its line end."""
    path = tmp_path / "pepper"
    path.write_text("s3cret\n")
    assert load_settings({**NEEDED, "OVNPAY_KEY_PEPPER_FILE": str(path)}).key_pepper == "s3cret"


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({}, "OVNPAY_DATABASE_URL is not set"),
        ({**NEEDED, "OVNPAY_GATEWAY_PORT": "many"}, "OVNPAY_GATEWAY_PORT must be of type int"),
        ({**NEEDED, "OVNPAY_KEY_PEPPER_FILE": "/nowhere/at/all"}, "OVNPAY_KEY_PEPPER_FILE names /nowhere/at/all"),
        ({**NEEDED, "OVNPAY_LEASE_SECONDS": "5"}, "OVNPAY_LEASE_SECONDS must be longer"),
        ({**NEEDED, "OVNPAY_ENVIRONMENT": "staging"}, "development or production"),
        ({**NEEDED, "OVNPAY_ENVIRONMENT": "production"}, "OVNPAY_KEY_PEPPER is not set"),
        ({**NEEDED, "OVNPAY_DATABASE_URL": "mysql://x"}, "OVNPAY_DATABASE_URL should be postgresql://"),
        ({**NEEDED, "OVNPAY_FAILPOINT": "send.nowhere"}, "OVNPAY_FAILPOINT names no failpoint"),
        ({**NEEDED, "OVNPAY_FAILPOINT": "send.after_call:0"}, "OVNPAY_FAILPOINT names no failpoint"),
        ({**PRODUCTION, "OVNPAY_FAILPOINT": "send.after_call"}, "OVNPAY_FAILPOINT is set, which production refuses"),
        ({**NEEDED, "OVNPAY_PAYSTREAM_TEST_KEY": "psk_live_x"}, "OVNPAY_PAYSTREAM_TEST_KEY begins with psk_live_"),
        ({**NEEDED, "OVNPAY_PAYSTREAM_LIVE_KEY": "psk_test_x"}, "OVNPAY_PAYSTREAM_LIVE_KEY begins with psk_test_"),
    ],
)
def test_error_names_the_wrong_setting(environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(environ)


def test_production_accepts_strong_secrets_without_a_warning() -> None:
    settings = load_settings(PRODUCTION)
    assert (settings.environment, list(production_warnings(settings))) == ("production", [])


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OVNPAY_KEY_PEPPER", ""),
        ("OVNPAY_KEY_PEPPER", "kq83hf92jd0"),
        ("OVNPAY_KEY_PEPPER", "a" * 40),
        ("OVNPAY_KEY_PEPPER", "changeme-changeme-changeme-changeme-please"),
        ("OVNPAY_PAYSTREAM_WEBHOOK_SECRET", ""),
        ("OVNPAY_PAYSTREAM_WEBHOOK_SECRET", "whsec_short"),
        ("OVNPAY_PAYSTREAM_WEBHOOK_SECRET_PREVIOUS", "whsec_short"),
        ("OVNPAY_PAYSTREAM_LIVE_KEY", ""),
        ("OVNPAY_PAYSTREAM_LIVE_KEY", f"psk_test_{RANDOM}"),
        ("OVNPAY_PAYSTREAM_LIVE_KEY", "psk_live_x"),
        ("OVNPAY_PAYSTREAM_LIVE_KEY", "psk_live_your_key_from_the_dashboard"),
        ("OVNPAY_PAYSTREAM_TEST_KEY", ""),
        ("OVNPAY_PAYSTREAM_TEST_KEY", f"psk_live_{RANDOM}"),
        ("OVNPAY_DATABASE_URL", "postgresql://pay:postgres@db/pay"),
        ("OVNPAY_DATABASE_URL", "postgresql://pay:pay@db/pay"),
        ("OVNPAY_MIGRATION_DATABASE_URL", "postgresql://owner:kq83hf92@db/pay"),
        ("OVNPAY_REDIS_URL", "redis://:redis@redis/0"),
        ("OVNPAY_PAYSTREAM_URL", "http://api.paystream.example"),
    ],
)
def test_production_refuses_weak_secrets(variable: str, value: str) -> None:
    """The message names the variable and says how to get a strong secret; it never repeats the value."""
    with pytest.raises(SettingsError) as refused:
        load_settings({**PRODUCTION, variable: value})
    message = str(refused.value)
    assert variable in message
    assert any(
        remedy in message for remedy in ("openssl rand -hex 32", "Paystream's dashboard", "https://", "other mode")
    )
    assert not value or value not in message


@pytest.mark.parametrize("url", ["http://127.0.0.1:8090", "http://[::1]:8090", "http://localhost:8090"])
def test_provider_may_be_on_this_machine_without_encryption(url: str) -> None:
    """A simulator, or a local proxy that adds TLS."""
    assert load_settings({**PRODUCTION, "OVNPAY_PAYSTREAM_URL": url}).paystream_url == url


def test_redis_without_a_password_is_warned_of_but_accepted() -> None:
    """It only has ids, and often the network protects it."""
    assert [
        "OVNPAY_REDIS_URL has no password" in warning
        for warning in production_warnings(load_settings({**PRODUCTION, **REDIS}))
    ] == [True]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OVNPAY_GATEWAY_PORT", "s3cret-in-the-wrong-place"),
        ("OVNPAY_LEASE_SECONDS", "s3cret-in-the-wrong-place"),
        ("OVNPAY_ENVIRONMENT", "s3cret-in-the-wrong-place"),
        ("OVNPAY_KEY_PEPPER_FILE", "s3cret-in-the-wrong-place"),
        ("OVNPAY_DATABASE_URL", "s3cret-in-the-wrong-place"),
        ("OVNPAY_DATABASE_URL", "postgresql://user:s3cret@s3cret@host/x"),
        ("OVNPAY_DATABASE_URL", "postgresql://user:s3cret/x"),
        ("OVNPAY_REDIS_URL", "redis://:s3cret#s3cret@host"),
        ("OVNPAY_PAYSTREAM_URL", "s3cret-in-the-wrong-place"),
    ],
)
def test_no_error_repeats_a_value(variable: str, value: str) -> None:
    """Neither the message nor the exceptions behind it, which a traceback would show."""
    with pytest.raises(SettingsError) as refused:
        load_settings({**NEEDED, variable: value})
    error: BaseException | None = refused.value
    while error is not None:
        assert "s3cret" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_webhooks_to_this_machine_are_never_allowed_in_production() -> None:
    """Whatever the setting says."""
    production = {**PRODUCTION, "OVNPAY_WEBHOOKS_ALLOW_LOOPBACK": "true"}
    assert load_settings(NEEDED).is_loopback_allowed
    assert not load_settings({**NEEDED, "OVNPAY_WEBHOOKS_ALLOW_LOOPBACK": "false"}).is_loopback_allowed
    assert not load_settings(production).is_loopback_allowed


def test_documented_connections_are_those_that_services_open() -> None:
    """The description of `database_pool_size` is what an operator computes `max_connections` from."""
    text = " ".join(Path(settings_module.__file__).read_text().split())
    documented = re.search(r"one for each thread and one more, a scheduler (\d+), the exporter (\d+)", text)
    assert documented is not None
    assert [int(number) for number in documented.groups()] == [scheduler.CONNECTIONS, exporter.CONNECTIONS]
    assert OTHER_THREADS == 1
