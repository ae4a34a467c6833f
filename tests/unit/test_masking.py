"""Masking: what looks like a secret leaves no log, whatever library or stranger said it."""

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
    ("text", "shown"),
    [
        pytest.param(f"key {KEY}!", "key ovnp_prod_…!", id="key"),
        pytest.param(TOKEN, "ovnp_sess_…", id="token"),
        ("psk_live_0123456789abcdef and whsec_0123456789abcdef", "psk_live_… and whsec_…"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer …"),
        ('{"a": "Bearer abcdefgh"}', '{"a": "Bearer …"}'),
        ("OVNP_PROD_0123456789 PSK_TEST_0123456789 WHSEC_0123456789", "OVNP_PROD_… PSK_TEST_… WHSEC_…"),
        ("ba\u017fic dXNlcjpwYXNz", "ba\u017fic …"),  # an s to whoever ignores case
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
def test_secrets_are_masked_and_the_rest_is_left(text: str, shown: str) -> None:
    assert mask_secrets(text) == shown


@pytest.mark.parametrize(
    ("name", "shown"), [("amount", "amount"), ("a b", "…"), pytest.param(KEY, "…", id="key"), ("x" * 65, "…")]
)
def test_a_name_is_shown_where_it_can_be_one(name: str, shown: str) -> None:
    assert echo_field_name(name) == shown


@pytest.fixture
def logging_put_back() -> Iterator[None]:
    """Leaves logging as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("logging_put_back")
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_neither_our_lines_nor_a_librarys_have_any(capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    """Not in a field, not in a traceback, and not as a local variable beside it."""
    # Given logging as a service has it
    logs.configure_logging(Settings(database_url="", redis_url="", log_format=log_format), "tests")
    # When something fails with a secret at hand and in its message
    account_number = "".join(["99887766", "5544332211"])
    try:
        raise ValueError(f"{KEY} is wrong for {account_number[:0]}ada@fleet.example")
    except ValueError:
        structlog.get_logger("ours").exception("failed", header=f"Bearer {KEY}")
        logging.getLogger("theirs").exception("failed with %s", KEY)
    # Then two lines say so, without it
    heard = capsys.readouterr().err
    assert heard.count("ValueError") >= 2
    assert KEY[10:] not in heard
    assert "ada@" not in heard
    assert account_number not in heard
    if log_format == "json":
        assert [json.loads(line)["event"] for line in heard.splitlines()] == ["failed", "failed with ovnp_prod_…"]
