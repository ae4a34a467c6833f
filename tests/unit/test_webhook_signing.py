"""Signatures of customer webhooks: as defined by the API reference, and as Standard Webhooks libraries verify them."""

import hashlib
import hmac
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from shared.events.signing import generate_secret, seal_secret, signature_headers, unseal_secret

BODY = b'{"id":"evt_1","type":"payout.succeeded"}'


def test_both_signatures_verify_and_reject_a_changed_body() -> None:
    secret, now = generate_secret(), int(time.time())
    headers = signature_headers([secret], "evt_1", BODY, now)
    assert Webhook(secret).verify(BODY, headers) == {"id": "evt_1", "type": "payout.succeeded"}
    digest = hmac.new(secret.encode(), f"{now}.".encode() + BODY, hashlib.sha256).hexdigest()
    assert headers["X-Signature"] == f"t={now},v1={digest}"
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(BODY + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(generate_secret()).verify(BODY, headers)


def test_either_of_two_valid_secrets_verifies() -> None:
    old, new = generate_secret(), generate_secret()
    headers = signature_headers([new, old], "evt_1", BODY, int(time.time()))
    for secret in (old, new):
        assert Webhook(secret).verify(BODY, headers)
    assert headers["X-Signature"].count("v1=") == 2


def test_sealed_secret_is_encrypted_and_can_be_unsealed() -> None:
    secret = generate_secret()
    assert secret.encode() not in seal_secret(secret, "a pepper")
    assert unseal_secret(seal_secret(secret, "a pepper"), "a pepper") == secret
