"""The journal: database triggers record each transition of a payout and each lease of a submission at its commit, and
which service's connection made it, independently of the application's code.
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
"""The allowed transitions, by the design and not by the code."""


def install_journal(database_url: str) -> None:
    """Create the triggers, as the owner of the tables."""
    with psycopg.connect(database_url) as connection:
        connection.execute(_TRIGGERS)


class ConnectionOwners:
    """The service that used a port at a time."""

    def __init__(self, opened: Mapping[str, Iterable[tuple[float, int]]]) -> None:
        """`opened`: the time and port of each connection of each service."""
        self._of_port: defaultdict[int, list[tuple[float, str]]] = defaultdict(list)
        for service, connections in opened.items():
            for at, port in connections:
                self._of_port[port].append((at, service))
        for uses in self._of_port.values():
            uses.sort()

    def service_of(self, port: int, at: float) -> str:
        """Return the service, or `another process`."""
        uses = self._of_port.get(port, [])
        place = bisect.bisect_right(uses, (at, "~"))
        return uses[place - 1][1] if place else "another process"


Step = tuple[float, int, str, Any, str | None, str, Any, Any]
"""at, port, kind, subject, status before and after, token before and after."""


def load_journal(connection: "psycopg.Connection[Any]") -> list[Step]:
    """Load the journal, in the order of its rows."""
    return connection.execute(
        "SELECT extract(epoch FROM at)::float8, port, kind, subject, before, after, held_before, held_after"
        " FROM chaos.journal ORDER BY position"
    ).fetchall()


def find_violations(steps: Sequence[Step], owners: ConnectionOwners) -> Iterator[str]:
    """Yield transitions that are not allowed, and answers that were recorded without the submission's lease."""
    holders: dict[Any, str] = {}
    for at, port, kind, subject, before, after, held_before, held_after in steps:
        if kind == "payout":
            if (before, after) not in EDGES:
                yield f"payout {subject} went from {before} to {after}"
            continue
        service = owners.service_of(port, at)
        if held_after is not None and held_after != held_before:
            holders[held_after] = service
        elif held_before is None:
            yield f"{service} recorded an answer ({before} -> {after}) to submission {subject}, which was not leased"
        elif holders.get(held_before, service) != service:
            holder = holders[held_before]
            yield f"{service} recorded an answer ({before} -> {after}) to submission {subject}, leased by {holder}"
