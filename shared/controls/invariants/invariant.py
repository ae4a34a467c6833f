"""What an invariant is: a law, what it is about, and the question that finds who breaks it."""

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
"""How many breaks of one law are told of a portion: the first hundred say what is wrong."""


class KeySlice(NamedTuple):
    """What is looked at in one transaction."""

    keys: Sequence[Any]
    """Ids of the law's subject, or what else names them."""
    now: datetime
    since: datetime | None = None
    """Only what has changed since then, where the law can tell; None: all that there is of them."""


FindViolations = Callable[[sa.Connection, KeySlice], Iterable[tuple[uuid.UUID | None, str]]]
"""Returns for each break whose it is and the sentence."""


class Invariant(NamedTuple):
    """A law."""

    name: str
    law: str
    """What always holds, as one sentence."""
    subject: Subject
    find: FindViolations
    when_changed: bool = True
    """Whether it is proved of what has just changed too; False: in its turn alone, for it takes long."""

    def breaks(self, connection: sa.Connection, portion: KeySlice) -> list[Violation]:
        """The breaks in a portion, at most `SLICE_VIOLATIONS_MAX`."""
        found: list[tuple[uuid.UUID | None, str]] = []
        for begin in range(0, len(portion.keys), self.subject.a_question):
            keys = portion.keys[begin : begin + self.subject.a_question]
            found += self.find(connection, portion._replace(keys=keys))
            del found[SLICE_VIOLATIONS_MAX:]
        return [Violation(self.name, wallet_id, sentence) for wallet_id, sentence in found]


def find_violations_query(statement: str, prefix: str, **values: Any) -> FindViolations:
    """The question as one statement with `:ids`, whose rows are `wallet_id`, `id` (shown with the prefix), `why` and,
    where the sentence has `{submission}` in it, `submission_id`. It may use `:now`, `:since_id` (all zeros for all
    that there is), `:names` (the ids as the API shows them, as JSON) and the values.
    """
    text = sa.text(f"SELECT * FROM ({statement}) AS found ORDER BY id LIMIT {SLICE_VIOLATIONS_MAX}")
    uses = set(text.compile().params)

    def find(connection: sa.Connection, portion: KeySlice) -> Iterable[tuple[uuid.UUID | None, str]]:
        known = values | {
            "ids": list(portion.keys),
            "now": portion.now,
            "since_id": first_id_at(portion.since) if portion.since else uuid.UUID(int=0),
        }
        if "names" in uses:
            known["names"] = encode_rows({"id": one, "name": public_id(prefix, one)} for one in portion.keys)
        for row in connection.execute(text, {name: known[name] for name in uses}):
            why: str = row.why
            if "{submission}" in why:
                why = why.replace("{submission}", public_id(SUBMISSION, row.submission_id))
            yield row.wallet_id, f"{public_id(prefix, row.id)}: {why}"

    return find
