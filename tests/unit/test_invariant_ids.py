"""Laws are looked at for each id once, however many are named in a question and however they are kept."""

import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, cast

import sqlalchemy as sa

from shared.controls.invariants.invariant import SLICE_VIOLATIONS_MAX, Invariant, KeySlice
from shared.controls.invariants.subjects import PAYOUTS, PackedIds

IDS = [uuid.UUID(int=number) for number in range(1, 251)]
NO_CONNECTION = cast(sa.Connection, None)


def kept(ids: Iterable[uuid.UUID]) -> PackedIds:
    return PackedIds(b"".join(one.bytes for one in ids))


def test_ids_come_out_as_they_went_in() -> None:
    assert list(kept(IDS)) == IDS
    assert kept(IDS)[-1] == IDS[-1]
    assert [list(portion) for portion in kept(IDS).portions(100)] == [IDS[:100], IDS[100:200], IDS[200:]]
    assert not list(PackedIds().portions(100))


def test_each_is_asked_about_once_and_the_first_breaks_are_told() -> None:
    asked: list[Any] = []

    def find(_: sa.Connection, portion: KeySlice) -> list[tuple[uuid.UUID | None, str]]:
        asked.extend(portion.keys)
        assert len(portion.keys) <= 40
        return [(None, str(one)) for one in portion.keys]

    law = Invariant("law", "A law", PAYOUTS._replace(a_question=40), find)
    breaks = law.breaks(NO_CONNECTION, KeySlice(kept(IDS), datetime.now(UTC)))
    assert asked == IDS
    assert [one.explanation for one in breaks] == [str(one) for one in IDS[:SLICE_VIOLATIONS_MAX]]
