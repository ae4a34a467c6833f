"""Prices: the default price list gives the fee of every sample in the API reference."""

import importlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ledger.prices import PriceList, PriceRow
from shared.schema.payouts import Rail

DEFAULT = PriceList(
    PriceRow(*line) for line in importlib.import_module("shared.schema.migrations.versions.0001_first_driver").PRICES
)


@pytest.mark.parametrize(
    ("rail", "amount_cents", "in_batch", "fee_cents"),
    [
        (Rail.STANDARD, 45_000, False, 250),
        (Rail.STANDARD, 45_000, True, 225),
        (Rail.STANDARD, 50_000, True, 250),
        (Rail.STANDARD, 40_000, True, 200),
        (Rail.STANDARD, 90_000, True, 250),
        (Rail.INSTANT, 45_000, False, 450),
        (Rail.INSTANT, 50_000, False, 250),
        (Rail.INSTANT, 49_999, False, 500),
        (Rail.INSTANT, 49, False, 0),
        (Rail.INSTANT, 50, False, 1),
        (Rail.SAME_DAY, 45_000, False, 500),
        (Rail.SAME_DAY, 45_000, True, 500),
    ],
)
def test_fee(rail: Rail, amount_cents: int, in_batch: bool, fee_cents: int) -> None:
    """Rounded half up; a rail without a batch price has its single price."""
    assert DEFAULT.fee_cents(rail, amount_cents, in_batch=in_batch) == fee_cents


def test_sample_batch_costs_675() -> None:
    """45000 + 50000 + 40000 in a batch (reference: Create Batch)."""
    assert sum(DEFAULT.fee_cents(Rail.STANDARD, cents, in_batch=True) for cents in (45_000, 50_000, 40_000)) == 675


@given(st.sampled_from(Rail), st.integers(1, 100_000_000), st.booleans())
def test_fee_is_a_non_negative_integer(rail: Rail, amount_cents: int, in_batch: bool) -> None:
    fee_cents = DEFAULT.fee_cents(rail, amount_cents, in_batch=in_batch)
    assert isinstance(fee_cents, int)
    assert fee_cents >= 0
