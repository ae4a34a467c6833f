"""The journal: triggers in the database that write down every step of a payout and every hold of a submission, as they
are committed, and whose connection made it. What the code says of itself is not asked.
"""

import bisect
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import psycopg

_TRIGGERS: Final = """
CREATE SCHEMA chaos;
CREATE TABLE chaos.journal (
    position bigserial PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), port int,
    kind text NOT NULL, subject uuid NOT NULL, before text, after text, held_before uuid, held_after uuid);
CREATE FUNCTION chaos.note_payout() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO chaos.journal (port, kind, subject, before, after)
    VALUES (inet_client_port(), 'payout', NEW.id, CASE TG_OP WHEN 'UPDATE' THEN OLD.status END, NEW.status);
    RETURN NULL; END $$;
CREATE FUNCTION chaos.note_submission() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO chaos.journal (port, kind, subject, before, after, held_before, held_after)
    VALUES (inet_client_port(), 'submission', NEW.id, OLD.status, NEW.status, OLD.lease_token, NEW.lease_token);
    RETURN NULL; END $$;
CREATE TRIGGER chaos_made AFTER INSERT ON payouts FOR EACH ROW EXECUTE FUNCTION chaos.note_payout();
CREATE TRIGGER chaos_stepped AFTER UPDATE ON payouts FOR EACH ROW
    WHEN (OLD.status <> NEW.status OR OLD.sequence <> NEW.sequence) EXECUTE FUNCTION chaos.note_payout();
CREATE TRIGGER chaos_held AFTER UPDATE ON submissions FOR EACH ROW
    WHEN (OLD.lease_token IS DISTINCT FROM NEW.lease_token OR OLD.status <> NEW.status
          OR OLD.unclear_answers IS DISTINCT FROM NEW.unclear_answers) EXECUTE FUNCTION chaos.note_submission();
"""

EDGES: Final = {
    (None, "validated"),
    ("validated", "queued"),
    ("validated", "canceled"),
    ("queued", "processing"),
    ("queued", "canceled"),
    ("processing", "completed"),
    ("processing", "failed"),
    ("failed", "queued"),
    ("completed", "returned"),
}
"""Every step that a payout may take, by the design and not by the code."""


def install(database_url: str) -> None:
    """Begins the journal, as the owner of the tables."""
    with psycopg.connect(database_url) as connection:
        connection.execute(_TRIGGERS)


class Owners:
    """Whose connection a port was, at a time."""

    def __init__(self, opened: Mapping[str, Iterable[tuple[float, int]]]) -> None:
        """`opened`: when each service opened connections, and from which port."""
        self._of_port: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
        for service, connections in opened.items():
            for at, port in connections:
                self._of_port[port].append((at, service))
        for uses in self._of_port.values():
            uses.sort()

    def of(self, port: int, at: float) -> str:
        """The service, or who else."""
        uses = self._of_port.get(port, [])
        place = bisect.bisect_right(uses, (at, "~"))
        return uses[place - 1][1] if place else "somebody else"


Step = tuple[float, int, str, Any, str | None, str, Any, Any]
"""at, port, kind, subject, status before, after, token before, after."""


def read(connection: "psycopg.Connection[Any]") -> list[Step]:
    """The journal, in the order of its rows."""
    return connection.execute(
        "SELECT extract(epoch FROM at)::float8, port, kind, subject, before, after, held_before, held_after"
        " FROM chaos.journal ORDER BY position"
    ).fetchall()


def breaks(steps: Sequence[Step], owners: Owners) -> Iterator[str]:
    """Steps that no payout may take, and answers that were recorded by somebody who did not hold the submission."""
    holders: dict[Any, str] = {}
    for at, port, kind, subject, before, after, held_before, held_after in steps:
        if kind == "payout":
            if (before, after) not in EDGES:
                yield f"payout {subject} went from {before} to {after}"
            continue
        service = owners.of(port, at)
        if held_after is not None and held_after != held_before:
            holders[held_after] = service
        elif held_before is None:
            yield f"{service} recorded an answer ({before} -> {after}) to submission {subject}, which nobody held"
        elif holders.get(held_before, service) != service:
            holder = holders[held_before]
            yield f"{service} recorded an answer ({before} -> {after}) to submission {subject}, which {holder} held"
