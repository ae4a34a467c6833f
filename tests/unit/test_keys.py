"""API keys: their form, and what is refused without a visit to the database."""

import re

import pytest

from shared.identity.api_keys import generate_key, hash_token, is_well_formed_key
from shared.schema.organizations import Mode


@pytest.mark.parametrize(("mode", "prefix"), [(Mode.SANDBOX, "ovnp_sbox_"), (Mode.PRODUCTION, "ovnp_prod_")])
def test_a_key_has_its_modes_prefix_43_characters_and_a_checksum(mode: Mode, prefix: str) -> None:
    """And no two are the same."""
    keys = {generate_key(mode) for _ in range(100)}
    assert len(keys) == 100
    assert all(re.fullmatch(prefix + "[0-9A-Za-z]{49}", key) and is_well_formed_key(key) for key in keys)


def test_one_wrong_character_anywhere_makes_it_malformed() -> None:
    """The checksum finds it."""
    key = generate_key(Mode.SANDBOX)
    for position in range(10, len(key)):
        other = "A" if key[position] != "A" else "B"
        assert not is_well_formed_key(key[:position] + other + key[position + 1 :])


@pytest.mark.parametrize(
    "text", ["", "ovnp_sbox_", "ovnp_sbox_xxx", "psk_test_x", "x" * 10_000, "ovnp_sbox_" + "é" * 49]
)
def test_junk_is_malformed(text: str) -> None:
    """Whatever its length or alphabet."""
    assert not is_well_formed_key(text)


def test_the_stored_form_depends_on_the_pepper() -> None:
    """A stolen table alone is worth nothing."""
    key = generate_key(Mode.SANDBOX)
    assert hash_token(key, "one") != hash_token(key, "another")
    assert hash_token(key, "one") == hash_token(key, "one")
