"""Settings: from the environment or from files, with an error that says what to do."""

from pathlib import Path

import pytest

from shared.platform.settings import SettingsError, load_settings
from shared.platform.settings_validation import production_warnings
from tests.support.settings_samples import NEEDED, PRODUCTION, RANDOM, REDIS


def test_numbers_are_read_and_defaults_hold() -> None:
    """One set, the others as documented."""
    settings = load_settings({**NEEDED, "OVNPAY_GATEWAY_PORT": "9999", "OVNPAY_LEASE_SECONDS": "12.5"})
    assert (settings.gateway_port, settings.lease_seconds, settings.environment) == (9999, 12.5, "development")


def test_a_secret_comes_from_a_file(tmp_path: Path) -> None:
    """As Docker and Kubernetes mount it, with its line end."""
    path = tmp_path / "pepper"
    path.write_text("s3cret\n")
    assert load_settings({**NEEDED, "OVNPAY_KEY_PEPPER_FILE": str(path)}).key_pepper == "s3cret"


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({}, "OVNPAY_DATABASE_URL is not set"),
        ({**NEEDED, "OVNPAY_GATEWAY_PORT": "many"}, "OVNPAY_GATEWAY_PORT should be int"),
        ({**NEEDED, "OVNPAY_KEY_PEPPER_FILE": "/nowhere/at/all"}, "OVNPAY_KEY_PEPPER_FILE names /nowhere/at/all"),
        ({**NEEDED, "OVNPAY_LEASE_SECONDS": "5"}, "OVNPAY_LEASE_SECONDS must be longer"),
        ({**NEEDED, "OVNPAY_ENVIRONMENT": "staging"}, "development or production"),
        ({**NEEDED, "OVNPAY_ENVIRONMENT": "production"}, "OVNPAY_KEY_PEPPER is not set"),
        ({**NEEDED, "OVNPAY_DATABASE_URL": "mysql://x"}, "OVNPAY_DATABASE_URL should be postgresql://"),
        ({**NEEDED, "OVNPAY_FAILPOINT": "send.nowhere"}, "OVNPAY_FAILPOINT names no crash point"),
        ({**NEEDED, "OVNPAY_FAILPOINT": "send.after_call:0"}, "OVNPAY_FAILPOINT names no crash point"),
        ({**PRODUCTION, "OVNPAY_FAILPOINT": "send.after_call"}, "OVNPAY_FAILPOINT is set, which production refuses"),
        ({**NEEDED, "OVNPAY_PAYSTREAM_TEST_KEY": "psk_live_x"}, "OVNPAY_PAYSTREAM_TEST_KEY begins with psk_live_"),
        ({**NEEDED, "OVNPAY_PAYSTREAM_LIVE_KEY": "psk_test_x"}, "OVNPAY_PAYSTREAM_LIVE_KEY begins with psk_test_"),
    ],
)
def test_a_wrong_setting_is_named(environ: dict[str, str], says: str) -> None:
    """One sentence with the variable in it."""
    with pytest.raises(SettingsError, match=says):
        load_settings(environ)


def test_production_starts_with_real_secrets() -> None:
    """And has nothing to doubt."""
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
def test_production_refuses_what_is_no_secret(variable: str, value: str) -> None:
    """The sentence names the variable and says where a real one comes from; it never repeats the value."""
    with pytest.raises(SettingsError) as refusal:
        load_settings({**PRODUCTION, variable: value})
    sentence = str(refusal.value)
    assert variable in sentence
    assert any(
        remedy in sentence for remedy in ("openssl rand -hex 32", "Paystream's dashboard", "https://", "other mode")
    )
    assert not value or value not in sentence


@pytest.mark.parametrize("url", ["http://127.0.0.1:8090", "http://[::1]:8090", "http://localhost:8090"])
def test_the_provider_may_be_on_this_machine(url: str) -> None:
    """A simulator, or a proxy that speaks TLS for us."""
    assert load_settings({**PRODUCTION, "OVNPAY_PAYSTREAM_URL": url}).paystream_url == url


def test_a_redis_without_a_password_is_doubted_but_not_refused() -> None:
    """It holds ids alone, and often only the network keeps it."""
    assert [
        "OVNPAY_REDIS_URL has no password" in doubt
        for doubt in production_warnings(load_settings({**PRODUCTION, **REDIS}))
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
    """Not in its sentence, and not in the exceptions behind it that a traceback would show."""
    with pytest.raises(SettingsError) as refusal:
        load_settings({**NEEDED, variable: value})
    error: BaseException | None = refusal.value
    while error is not None:
        assert "s3cret" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_customers_may_name_this_machine_in_development_alone() -> None:
    """Whatever the setting says."""
    production = {**PRODUCTION, "OVNPAY_WEBHOOKS_ALLOW_LOOPBACK": "true"}
    assert load_settings(NEEDED).is_loopback_allowed
    assert not load_settings({**NEEDED, "OVNPAY_WEBHOOKS_ALLOW_LOOPBACK": "false"}).is_loopback_allowed
    assert not load_settings(production).is_loopback_allowed
