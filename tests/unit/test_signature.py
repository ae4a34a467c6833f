"""Webhook signatures: accepted forms, and the flaw reported for each rejected one."""

import pytest

from shared.provider.signature import InvalidSignature, SignatureFlaw, sign_body, verify_signature

SECRET, BODY, NOW = "whsec_current", b'{"id":"evt_1"}', 1_770_000_000
VALID = sign_body(SECRET, BODY, NOW)
T, V1 = VALID.split(",")
WRONG_DIGEST = "v1=" + "0" * 64


def test_a_signature_by_the_current_or_the_previous_secret_is_accepted() -> None:
    for secret in (SECRET, "whsec_previous"):
        verify_signature([sign_body(secret, BODY, NOW)], [SECRET, "whsec_previous"], BODY, NOW)


@pytest.mark.parametrize("age_seconds", [-300, 0, 300])
def test_a_time_within_five_minutes_is_accepted(age_seconds: int) -> None:
    verify_signature([sign_body(SECRET, BODY, NOW - age_seconds)], [SECRET], BODY, NOW)


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(f"{T},{WRONG_DIGEST},{V1}", id="the second of two"),
        pytest.param(f"{T},{V1},{WRONG_DIGEST},{WRONG_DIGEST},{WRONG_DIGEST},{WRONG_DIGEST}", id="the first of five"),
        pytest.param(f"{T},v1={V1[3:].upper()}", id="upper case"),
        pytest.param(f"  {T} ,  {V1} ", id="spaces"),
    ],
)
def test_equivalent_headers_are_accepted(header: str) -> None:
    """Several digests, one of them right, are sent while the sender rotates its secret."""
    verify_signature([header], [SECRET], BODY, NOW)


@pytest.mark.parametrize(
    ("headers", "secrets", "body", "flaw"),
    [
        ([], [SECRET], BODY, SignatureFlaw.MISSING),
        ([""], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([T], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([WRONG_DIGEST], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"{T},v1=xyz"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"{V1},{T}"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"{T},{T},{V1}"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"{T},{V1},v0=1"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"{T},{V1}" + f",{WRONG_DIGEST}" * 5], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"{T},{V1}\n"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([VALID, VALID], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"t=\N{FULLWIDTH DIGIT ONE}{T[3:]},{V1}"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        (["t=99999999999999999999," + WRONG_DIGEST], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([f"t=-{T[2:]},{V1}"], [SECRET], BODY, SignatureFlaw.MALFORMED),
        ([sign_body(SECRET, BODY, NOW - 301)], [SECRET], BODY, SignatureFlaw.STALE),
        ([sign_body(SECRET, BODY, NOW + 301)], [SECRET], BODY, SignatureFlaw.STALE),
        ([sign_body("another", BODY, NOW)], [SECRET], BODY, SignatureFlaw.WRONG),
        ([VALID], [SECRET], BODY + b" ", SignatureFlaw.WRONG),
        ([VALID.replace("t=1770000000", "t=1770000001")], [SECRET], BODY, SignatureFlaw.WRONG),
        ([VALID.replace("t=1770000000", "t=01770000000")], [SECRET], BODY, SignatureFlaw.WRONG),
        ([sign_body("", BODY, NOW)], ["", ""], BODY, SignatureFlaw.WRONG),
    ],
)
def test_an_invalid_signature_is_rejected_with_its_flaw(
    headers: list[str], secrets: list[str], body: bytes, flaw: SignatureFlaw
) -> None:
    with pytest.raises(InvalidSignature) as caught:
        verify_signature(headers, secrets, body, NOW)
    assert caught.value.flaw is flaw
