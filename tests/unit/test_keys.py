"""API keys: their format, and what is refused without a database query."""

import re

import pytest

from shared.identity.api_keys import generate_key, hash_token, is_well_formed_key
from shared.schema.organizations import Mode


@pytest.mark.parametrize(("mode", "prefix"), [(Mode.SANDBOX, "ovnp_sbox_"), (Mode.PRODUCTION, "ovnp_prod_")])
def test_key_has_the_prefix_of_its_mode_43_characters_and_a_checksum(mode: Mode, prefix: str) -> None:
    keys = {generate_key(mode) for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(prefix + "[0-9A-Za-z]{49}", key) and is_well_formed_key(key) for key in keys)


def test_checksum_detects_one_wrong_character_anywhere() -> None:
    key = generate_key(Mode.SANDBOX)
    for position in range(10, len(key)):
        other = "A" if key[position] != "A" else "B"
        assert not is_well_formed_key(key[:position] + other + key[position + 1 :])


@pytest.mark.parametrize(
    "text", ["", "ovnp_sbox_", "ovnp_sbox_xxx", "psk_test_x", "x" * 10_000, "ovnp_sbox_" + "é" * 49]
)
def test_text_of_other_length_or_alphabet_is_malformed(text: str) -> None:
    assert not is_well_formed_key(text)


def test_stored_hash_depends_on_the_pepper() -> None:
    key = generate_key(Mode.SANDBOX)
    assert hash_token(key, "one") != hash_token(key, "another")
    assert hash_token(key, "one") == hash_token(key, "one")
