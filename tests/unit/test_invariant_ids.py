"""Invariants check each id exactly once, however ids are packed and split into queries."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

import sqlalchemy as sa

from shared.controls.invariants.invariant import SLICE_VIOLATIONS_MAX, Invariant, KeySlice
from shared.controls.invariants.subjects import PAYOUTS, PackedIds

IDS = [uuid.UUID(int=number) for number in range(1, 251)]
NO_CONNECTION = cast(sa.Connection, None)


def packed(ids: Iterable[uuid.UUID]) -> PackedIds:
    return PackedIds(b"".join(one.bytes for one in ids))


def test_packed_ids_keep_ids_and_order() -> None:
    assert list(packed(IDS)) == IDS
    assert packed(IDS)[-1] == IDS[-1]
    assert [list(ids) for ids in packed(IDS).slices(100)] == [IDS[:100], IDS[100:200], IDS[200:]]
    assert not list(PackedIds().slices(100))


def test_each_id_is_queried_once_and_the_first_violations_are_returned() -> None:
    queried: list[Any] = []

    def find(_: sa.Connection, key_slice: KeySlice) -> list[tuple[uuid.UUID | None, str]]:
        queried.extend(key_slice.keys)
        assert len(key_slice.keys) <= 40
        return [(None, str(key)) for key in key_slice.keys]

    invariant = Invariant("name", "A description", PAYOUTS._replace(query_size=40), find)
    violations = invariant.violations(NO_CONNECTION, KeySlice(packed(IDS), datetime.now(UTC)))
    assert queried == IDS
    assert [one.explanation for one in violations] == [str(one) for one in IDS[:SLICE_VIOLATIONS_MAX]]
