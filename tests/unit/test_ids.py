"""Ids sort by time, and only valid ones are parsed."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.platform.ids import DRIVER, PAYOUT, new_id, parse_id, public_id


@given(st.uuids())
def test_parsing_a_public_id_returns_the_id(value: uuid.UUID) -> None:
    text = public_id(PAYOUT, value)
    assert len(text) == len("pay_") + 26
    assert parse_id(PAYOUT, text) == value


def test_public_id_follows_the_typeid_specification() -> None:
    """By the specification's own example."""
    value = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert public_id("prefix", value) == "prefix_01h455vb4pex5vsknk084sn02q"


def test_later_ids_sort_later_in_both_forms() -> None:
    ids = [new_id() for _ in range(1_000)]
    assert sorted(ids) == ids
    assert sorted(public_id(PAYOUT, value) for value in ids) == [public_id(PAYOUT, value) for value in ids]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pay_",
        "pay",
        "pay_xyz",
        "drv_01h455vb4pex5vsknk084sn02q",
        "pay_81h455vb4pex5vsknk084sn02q",
        "pay_01H455VB4PEX5VSKNK084SN02Q",
        "pay_01h455vb4pex5vsknk084sn02",
        "pay_01h455vb4pex5vsknk084sn02i",
        "pay_01h455vb4pex5vsknk084sn02q\n",
        " pay_01h455vb4pex5vsknk084sn02q",
        "pay__01h455vb4pex5vsknk084sn02q",
    ],
)
def test_invalid_id_is_not_parsed(text: str) -> None:
    assert parse_id(PAYOUT, text) is None


def test_id_with_another_prefix_is_not_parsed() -> None:
    assert parse_id(PAYOUT, public_id(DRIVER, new_id())) is None
