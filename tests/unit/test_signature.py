"""Signatures of webhooks: what is accepted, and every way to be refused."""

import pytest

from shared.provider.signature import BadSignature, Flaw, sign, verify

SECRET, BODY, NOW = "whsec_current", b'{"id":"evt_1"}', 1_770_000_000
RIGHT = sign(SECRET, BODY, NOW)
T, V1 = RIGHT.split(",")
OTHER = "v1=" + "0" * 64


def test_what_is_signed_with_the_current_or_the_previous_secret_is_accepted() -> None:
    """A rotation loses no webhook."""
    for secret in (SECRET, "whsec_previous"):
        verify([sign(secret, BODY, NOW)], [SECRET, "whsec_previous"], BODY, NOW)


@pytest.mark.parametrize("age_seconds", [-300, 0, 300])
def test_within_five_minutes(age_seconds: int) -> None:
    """Either way: clocks differ."""
    verify([sign(SECRET, BODY, NOW - age_seconds)], [SECRET], BODY, NOW)


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
    verify([header], [SECRET], BODY, NOW)


@pytest.mark.parametrize(
    ("headers", "secrets", "body", "flaw"),
    [
        ([], [SECRET], BODY, Flaw.MISSING),
        ([""], [SECRET], BODY, Flaw.MALFORMED),
        ([T], [SECRET], BODY, Flaw.MALFORMED),
        ([OTHER], [SECRET], BODY, Flaw.MALFORMED),
        ([f"{T},v1=xyz"], [SECRET], BODY, Flaw.MALFORMED),
        ([f"{V1},{T}"], [SECRET], BODY, Flaw.MALFORMED),
        ([f"{T},{T},{V1}"], [SECRET], BODY, Flaw.MALFORMED),
        ([f"{T},{V1},v0=1"], [SECRET], BODY, Flaw.MALFORMED),
        ([f"{T},{V1}" + f",{OTHER}" * 5], [SECRET], BODY, Flaw.MALFORMED),
        ([f"{T},{V1}\n"], [SECRET], BODY, Flaw.MALFORMED),
        ([RIGHT, RIGHT], [SECRET], BODY, Flaw.MALFORMED),
        ([f"t=\N{FULLWIDTH DIGIT ONE}{T[3:]},{V1}"], [SECRET], BODY, Flaw.MALFORMED),
        (["t=99999999999999999999," + OTHER], [SECRET], BODY, Flaw.MALFORMED),
        ([f"t=-{T[2:]},{V1}"], [SECRET], BODY, Flaw.MALFORMED),
        ([sign(SECRET, BODY, NOW - 301)], [SECRET], BODY, Flaw.STALE),
        ([sign(SECRET, BODY, NOW + 301)], [SECRET], BODY, Flaw.STALE),
        ([sign("another", BODY, NOW)], [SECRET], BODY, Flaw.WRONG),
        ([RIGHT], [SECRET], BODY + b" ", Flaw.WRONG),
        ([RIGHT.replace("t=1770000000", "t=1770000001")], [SECRET], BODY, Flaw.WRONG),
        ([RIGHT.replace("t=1770000000", "t=01770000000")], [SECRET], BODY, Flaw.WRONG),
        ([sign("", BODY, NOW)], ["", ""], BODY, Flaw.WRONG),
    ],
)
def test_everything_else_is_refused(headers: list[str], secrets: list[str], body: bytes, flaw: Flaw) -> None:
    """Missing, malformed, old, from the future, another secret, another body, another time, no secret configured."""
    with pytest.raises(BadSignature) as caught:
        verify(headers, secrets, body, NOW)
    assert caught.value.flaw is flaw
