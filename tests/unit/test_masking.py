"""Secrets are masked in every log line, ours and those of libraries."""

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from shared.identity.api_keys import generate_key, generate_session_token
from shared.platform import logs
from shared.platform.masking import echo_field_name, mask_secrets
from shared.platform.settings import Settings
from shared.schema.organizations import Mode

KEY, TOKEN = generate_key(Mode.PRODUCTION), generate_session_token()


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        pytest.param(f"key {KEY}!", "key ovnp_prod_…!", id="key"),
        pytest.param(TOKEN, "ovnp_sess_…", id="token"),
        ("psk_live_0123456789abcdef and whsec_0123456789abcdef", "psk_live_… and whsec_…"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer …"),
        ('{"a": "Bearer abcdefgh"}', '{"a": "Bearer …"}'),
        ("OVNP_PROD_0123456789 PSK_TEST_0123456789 WHSEC_0123456789", "OVNP_PROD_… PSK_TEST_… WHSEC_…"),
        ("ba\u017fic dXNlcjpwYXNz", "ba\u017fic …"),  # equals an s if case is ignored
        ("postgresql://pay:s3cret@db/pay", "postgresql://pay:…@db/pay"),
        ("redis://:s3cret@host:6379/0", "redis://:…@host:6379/0"),
        ("to ada.driver+x@fleet.example.com.", "to …."),
        (
            "pay_01kg9r4e81ey1t5m0q6c3w8nab got 45000 at 12:00:00",
            "pay_01kg9r4e81ey1t5m0q6c3w8nab got 45000 at 12:00:00",
        ),
        ("http://127.0.0.1:8080/health", "http://127.0.0.1:8080/health"),
    ],
)
def test_only_secrets_are_masked(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


@pytest.mark.parametrize(
    ("name", "shown"), [("amount", "amount"), ("a b", "…"), pytest.param(KEY, "…", id="key"), ("x" * 65, "…")]
)
def test_field_name_is_shown_only_if_plausible(name: str, shown: str) -> None:
    assert echo_field_name(name) == shown


@pytest.fixture
def restored_logging() -> Iterator[None]:
    """Restore the logging configuration afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("restored_logging")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_log_lines_with_a_traceback_have_no_secret(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    """Neither in a field, nor in the traceback, nor as a local variable in it."""
    # Given logging as in a service
    logs.configure_logging(Settings(database_url="", redis_url="", log_format=log_format), "tests")
    # When an operation fails with a secret in its message and in a local variable
    account_number = "".join(["99887766", "5544332211"])
    try:
        raise ValueError(f"{KEY} is wrong for {account_number[:0]}ada@fleet.example")
    except ValueError:
        structlog.get_logger("ours").exception("failed", header=f"Bearer {KEY}")
        logging.getLogger("theirs").exception("failed with %s", KEY)
    # Then two lines report it without the secret
    logged = capsys.readouterr().err
    assert logged.count("ValueError") >= 2
    assert KEY[10:] not in logged
    assert "ada@" not in logged
    assert account_number not in logged
    if log_format == "json":
        assert [json.loads(line)["event"] for line in logged.splitlines()] == ["failed", "failed with ovnp_prod_…"]
