"""Signatures of webhooks: what is accepted, and every way to be refused."""

import pytest

from shared.paystream.signature import BadSignature, sign, verify

SECRET, BODY, NOW = "whsec_current", b'{"id":"evt_1"}', 1_770_000_000


def test_what_is_signed_with_the_current_or_the_previous_secret_is_accepted() -> None:
    """A rotation loses no webhook."""
    for secret in (SECRET, "whsec_previous"):
        verify(sign(secret, BODY, NOW), [SECRET, "whsec_previous"], BODY, NOW)


@pytest.mark.parametrize("age_seconds", [-300, 0, 300])
def test_within_five_minutes(age_seconds: int) -> None:
    """Either way: clocks differ."""
    verify(sign(SECRET, BODY, NOW - age_seconds), [SECRET], BODY, NOW)


@pytest.mark.parametrize(
    ("header", "secrets", "body"),
    [
        (None, [SECRET], BODY),
        ("", [SECRET], BODY),
        ("t=1770000000", [SECRET], BODY),
        ("v1=" + "0" * 64, [SECRET], BODY),
        ("t=1770000000,v1=xyz", [SECRET], BODY),
        ("t=99999999999999999999,v1=" + "0" * 64, [SECRET], BODY),
        (sign(SECRET, BODY, NOW - 301), [SECRET], BODY),
        (sign(SECRET, BODY, NOW + 301), [SECRET], BODY),
        (sign("another", BODY, NOW), [SECRET], BODY),
        (sign(SECRET, BODY, NOW), [SECRET], BODY + b" "),
        (sign(SECRET, BODY, NOW).replace("t=1770000000", "t=1770000001"), [SECRET], BODY),
        (sign("", BODY, NOW), ["", ""], BODY),
    ],
)
def test_everything_else_is_refused(header: str | None, secrets: list[str], body: bytes) -> None:
    """Missing, malformed, old, from the future, another secret, another body, another time, no secret configured."""
    with pytest.raises(BadSignature):
        verify(header, secrets, body, NOW)
