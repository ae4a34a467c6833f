"""Signatures of webhooks: what is accepted, and every way to be refused."""

import pytest

from shared.provider.signature import InvalidSignature, SignatureFlaw, sign_body, verify_signature

SECRET, BODY, NOW = "whsec_current", b'{"id":"evt_1"}', 1_770_000_000
RIGHT = sign_body(SECRET, BODY, NOW)
T, V1 = RIGHT.split(",")
OTHER = "v1=" + "0" * 64


def test_what_is_signed_with_the_current_or_the_previous_secret_is_accepted() -> None:
    """A rotation loses no webhook."""
    for secret in (SECRET, "whsec_previous"):
        verify_signature([sign_body(secret, BODY, NOW)], [SECRET, "whsec_previous"], BODY, NOW)


@pytest.mark.parametrize("age_seconds", [-300, 0, 300])
def test_within_five_minutes(age_seconds: int) -> None:
    """Either way: clocks differ."""
    verify_signature([sign_body(SECRET, BODY, NOW - age_seconds)], [SECRET], BODY, NOW)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(f"{T},{OTHER},{V1}", id="the second of two"),
        pytest.param(f"{T},{V1},{OTHER},{OTHER},{OTHER},{OTHER}", id="the first of five"),
        pytest.param(f"{T},v1={V1[3:].upper()}", id="upper case"),
        pytest.param(f"  {T} ,  {V1} ", id="spaces"),
    ],
)
def test_other_ways_to_write_the_same(header: str) -> None:
    """One right digest among several is what a sender sends while it changes its secret; hex has two cases."""
    verify_signature([header], [SECRET], BODY, NOW)


@pytest.mark.parametrize(
    ("headers", "secrets", "body", "flaw"),
    [
        ([], [SECRET], BODY, SignatureFlaw.MISSING),
        ([""], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([T], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([OTHER], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"{T},v1=xyz"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"{V1},{T}"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"{T},{T},{V1}"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"{T},{V1},v0=1"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"{T},{V1}" + f",{OTHER}" * 5], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"{T},{V1}\n"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([RIGHT, RIGHT], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"t=\N{FULLWIDTH DIGIT ONE}{T[3:]},{V1}"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        (["t=99999999999999999999," + OTHER], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"t=-{T[2:]},{V1}"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([sign_body(SECRET, BODY, NOW - 301)], [SECRET], BODY, SignatureFlaw.STALE),
        ([sign_body(SECRET, BODY, NOW + 301)], [SECRET], BODY, SignatureFlaw.STALE),
        ([sign_body("another", BODY, NOW)], [SECRET], BODY, SignatureFlaw.WRONG),
        ([RIGHT], [SECRET], BODY + b" ", SignatureFlaw.WRONG),
        ([RIGHT.replace("t=1770000000", "t=1770000001")], [SECRET], BODY, SignatureFlaw.WRONG),
        ([RIGHT.replace("t=1770000000", "t=01770000000")], [SECRET], BODY, SignatureFlaw.WRONG),
        ([sign_body("", BODY, NOW)], ["", ""], BODY, SignatureFlaw.WRONG),
    ],
)
def test_everything_else_is_refused(headers: list[str], secrets: list[str], body: bytes, flaw: SignatureFlaw) -> None:
    """Missing, malformed, old, from the future, another secret, another body, another time, no secret configured."""
    with pytest.raises(InvalidSignature) as caught:
        verify_signature(headers, secrets, body, NOW)
    assert caught.value.flaw is flaw
