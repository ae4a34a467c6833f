"""Signatures of customer webhooks: as the reference says, and as any Standard Webhooks library verifies them."""

import hashlib
import hmac
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from shared.events.retry_schedule import RETRY_DELAYS_SECONDS, parse_retry_after, retry_delay_seconds
from shared.events.signing import generate_secret, seal_secret, signature_headers, unseal_secret

BODY = b'{"id":"evt_1","type":"payout.succeeded"}'


def test_both_signatures_verify_and_a_changed_body_does_not() -> None:
    secret, now = generate_secret(), int(time.time())
    sent = signature_headers([secret], "evt_1", BODY, now)
    assert Webhook(secret).verify(BODY, sent) == {"id": "evt_1", "type": "payout.succeeded"}
    digest = hmac.new(secret.encode(), f"{now}.".encode() + BODY, hashlib.sha256).hexdigest()
    assert sent["X-Signature"] == f"t={now},v1={digest}"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + b" ", sent)
    with pytest.raises(WebhookVerificationError):
        Webhook(generate_secret()).verify(BODY, sent)


def test_while_two_secrets_are_valid_either_verifies() -> None:
    old, new = generate_secret(), generate_secret()
    sent = signature_headers([new, old], "evt_1", BODY, int(time.time()))
    for secret in (old, new):
        assert Webhook(secret).verify(BODY, sent)
    assert sent["X-Signature"].count("v1=") == 2


def test_a_sealed_secret_is_not_readable_and_comes_back() -> None:
    secret = generate_secret()
    assert secret.encode() not in seal_secret(secret, "a pepper")
    assert unseal_secret(seal_secret(secret, "a pepper"), "a pepper") == secret


def test_delays_are_those_promised_never_earlier_and_at_most_a_fifth_later() -> None:
    minute, hour = 60, 3600
    promised = [0, 5, 5 * minute, 30 * minute, *(hours * hour for hours in (2, 5, 10, 14, 20, 24))]
    assert list(RETRY_DELAYS_SECONDS) == promised
    for attempts, seconds in enumerate(promised[1:], 1):
        assert retry_delay_seconds(attempts, None, 0.0) == seconds
        assert retry_delay_seconds(attempts, None, 1.0) == pytest.approx(seconds * 1.2)
    assert retry_delay_seconds(10, None, 0.5) is None
    assert retry_delay_seconds(1, 90.0, 1.0) == 90.0
    assert retry_delay_seconds(9, 90.0, 0.0) == 24 * hour


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("999999999999", 86_400.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, datetime.now(UTC)) == seconds
