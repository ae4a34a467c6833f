"""Ids: sortable, readable, and nothing else parses as one."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.platform.ids import DRIVER, PAYOUT, new_id, parse_id, public_id


@given(st.uuids())
def test_every_id_comes_back_from_its_public_form(value: uuid.UUID) -> None:
    """26 base32 characters after the prefix, whatever the id."""
    text = public_id(PAYOUT, value)
    assert len(text) == len("pay_") + 26
    assert parse_id(PAYOUT, text) == value


def test_the_public_form_is_that_of_the_typeid_specification() -> None:
    """The specification's own example."""
    value = uuid.UUID("01890a5d-ac96-774b-bcce-b302099a8057")
    assert public_id("prefix", value) == "prefix_01h455vb4pex5vsknk084sn02q"


def test_ids_made_later_sort_later() -> None:
    """In both forms."""
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
def test_what_cannot_be_an_id_is_none(text: str) -> None:
    """To a caller: unknown."""
    assert parse_id(PAYOUT, text) is None


def test_an_id_of_another_kind_is_unknown() -> None:
    """A driver's id is no payout."""
    assert parse_id(PAYOUT, public_id(DRIVER, new_id())) is None
