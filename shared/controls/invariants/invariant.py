"""The type of an invariant, and checks made of one query."""

import uuid
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from shared.controls.invariants.subjects import Subject
from shared.platform.database import encode_rows
from shared.platform.ids import SUBMISSION, first_id_at, public_id
from shared.schema.controls import Violation

SLICE_VIOLATIONS_MAX: Final = 100
"""Violations of one invariant reported for a slice: the first hundred show what is wrong."""


class KeySlice(NamedTuple):
    """The rows that one transaction checks."""

    keys: Sequence[Any]
    """Ids of the invariant's subject, or other keys that identify its rows."""
    now: datetime
    since: datetime | None = None
    """Check only what changed since then, where the invariant supports it; None: check all."""


FindViolations = Callable[[sa.Connection, KeySlice], Iterable[tuple[uuid.UUID | None, str]]]
"""Returns the wallet and an explanation for each violation."""


class Invariant(NamedTuple):
    """A statement that must be true at any moment."""

    name: str
    description: str
    """The statement, as one sentence."""
    subject: Subject
    find: FindViolations
    check_changes: bool = True
    """Whether recent changes are checked at each step of a sweep; False: only its next slice, because it is slow."""

    def violations(self, connection: sa.Connection, key_slice: KeySlice) -> list[Violation]:
        """Return the violations in a slice, at most `SLICE_VIOLATIONS_MAX`."""
        found: list[tuple[uuid.UUID | None, str]] = []
        for begin in range(0, len(key_slice.keys), self.subject.query_size):
            keys = key_slice.keys[begin : begin + self.subject.query_size]
            found += self.find(connection, key_slice._replace(keys=keys))
            del found[SLICE_VIOLATIONS_MAX:]
        return [Violation(self.name, wallet_id, explanation) for wallet_id, explanation in found]


def make_query_check(statement: str, prefix: str, **values: Any) -> FindViolations:
    """Make a check of a query that returns `wallet_id`, `id`, `why`, and `submission_id` if `why` has `{submission}`.

    Its parameters: `:ids`, `:now`, `:since_id` (nil to check all), `:names` (public ids as JSON rows), and the values.
    """
    text = sa.text(f"SELECT * FROM ({statement}) AS found ORDER BY id LIMIT {SLICE_VIOLATIONS_MAX}")
    parameters = set(text.compile().params)

    def find(connection: sa.Connection, key_slice: KeySlice) -> Iterable[tuple[uuid.UUID | None, str]]:
        known = values | {
            "ids": list(key_slice.keys),
            "now": key_slice.now,
            "since_id": first_id_at(key_slice.since) if key_slice.since else uuid.UUID(int=0),
        }
        if "names" in parameters:
            known["names"] = encode_rows({"id": key, "name": public_id(prefix, key)} for key in key_slice.keys)
        for row in connection.execute(text, {name: known[name] for name in parameters}):
            why: str = row.why
            if "{submission}" in why:
                why = why.replace("{submission}", public_id(SUBMISSION, row.submission_id))
            yield row.wallet_id, f"{public_id(prefix, row.id)}: {why}"

    return find
