"""Cases: differences are written down for a person to look at, once each, and closed when they are gone."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from shared.identity import audit
from shared.identity.audit import Actor, Entry
from shared.platform.database import encode_rows
from shared.platform.errors import Conflict, NotFound
from shared.platform.ids import CASE, new_id, public_id
from shared.schema.audit import Action
from shared.schema.controls import CaseKind

K = CaseKind

WINDOW_KINDS: Final = (K.MISSING_HERE, K.MISSING_THERE, K.AMOUNT, K.CURRENCY, K.RECIPIENT, K.STATUS, K.PAID_TWICE)
"""Kinds that a comparison finds again, if they are still there, whenever its window has the payment."""
WINDOWLESS_KINDS: Final = (K.UNRESOLVED, K.CONTRADICTION, K.BALANCE)
"""Kinds that every comparison finds, whatever its window."""
CLOSED_BY_SYSTEM: Final = "system"
CASES_LISTED_MAX: Final = 1_000


class Difference(NamedTuple):
    """One difference between the two records; see `shared.schema.tables.reconciliation.ReconciliationCase`."""

    kind: CaseKind
    subject: str
    about_at: datetime
    ours: dict[str, Any] | None
    theirs: dict[str, Any] | None
    wallet_id: uuid.UUID | None = None
    payout_id: uuid.UUID | None = None
    submission_id: uuid.UUID | None = None
    payment_id: str | None = None


class CaseRow(NamedTuple):
    """A case as it is listed."""

    id: uuid.UUID
    kind: str
    mode: str
    subject: str
    wallet_id: uuid.UUID | None
    payout_id: uuid.UUID | None
    payment_id: str | None
    ours: dict[str, Any] | None
    theirs: dict[str, Any] | None
    first_seen_at: datetime
    last_seen_at: datetime
    closed_at: datetime | None
    closed_by: str | None
    closed_reason: str | None


_SEE = sa.text("""
    WITH seen AS (
        SELECT * FROM json_to_recordset(CAST(:seen AS json)) AS seen (
            id uuid, kind text, subject text, about_at timestamptz, ours jsonb, theirs jsonb, wallet_id uuid,
            payout_id uuid, submission_id uuid, payment_id text)
    ), again AS (
        UPDATE reconciliation_cases AS known SET last_seen_at = :now, ours = seen.ours, theirs = seen.theirs
        FROM seen WHERE known.closed_at IS NULL AND known.mode = :mode
             AND known.kind = seen.kind AND known.subject = seen.subject
        RETURNING known.kind, known.subject
    ), looked_at AS (
        -- A person has seen exactly this; that a payment moves on is news only where the status is what differs.
        UPDATE reconciliation_cases AS known SET last_seen_at = :now
        FROM seen WHERE known.closed_by <> :system AND known.mode = :mode
             AND known.kind = seen.kind AND known.subject = seen.subject
             AND known.ours IS NOT DISTINCT FROM seen.ours
             AND CASE WHEN seen.kind = 'status' THEN known.theirs IS NOT DISTINCT FROM seen.theirs
                      ELSE known.theirs - 'status' IS NOT DISTINCT FROM seen.theirs - 'status' END
        RETURNING known.kind, known.subject
    )
    INSERT INTO reconciliation_cases (id, kind, mode, subject, about_at, ours, theirs, wallet_id, payout_id,
                                      submission_id, payment_id, first_seen_at, last_seen_at)
    SELECT id, kind, :mode, subject, about_at, ours, theirs, wallet_id, payout_id, submission_id, payment_id, :now, :now
    FROM seen
    WHERE NOT EXISTS (SELECT FROM again WHERE (again.kind, again.subject) = (seen.kind, seen.subject))
      AND NOT EXISTS (SELECT FROM looked_at WHERE (looked_at.kind, looked_at.subject) = (seen.kind, seen.subject))
    ON CONFLICT DO NOTHING
""")


def record_differences(connection: sa.Connection, mode: str, differences: Sequence[Difference], now: datetime) -> int:
    """Writes differences down. The same one is the same case: open, or looked at and closed by a person. Returns how
    many cases are new.
    """
    if not differences:
        return 0
    unlike = {(one.kind, one.subject): one for one in differences}
    done = connection.execute(
        _SEE,
        {
            "mode": mode,
            "now": now,
            "system": CLOSED_BY_SYSTEM,
            "seen": encode_rows({"id": new_id(), **one._asdict()} for one in unlike.values()),
        },
    )
    return done.rowcount


def close_resolved_cases(
    connection: sa.Connection, mode: str, since: datetime, until: datetime, started_at: datetime, now: datetime
) -> int:
    """Closes the cases that a comparison of the window, begun at `started_at`, should have seen again and has not."""
    done = connection.execute(
        sa.text("""
            UPDATE reconciliation_cases
            SET closed_at = :now, closed_by = :system, closed_reason = 'the difference was gone'
            WHERE closed_at IS NULL AND mode = :mode AND last_seen_at < :started_at
                  AND (kind = ANY(:of_now) OR kind = ANY(:of_window) AND about_at BETWEEN :since AND :until)
        """),
        {
            "now": now,
            "system": CLOSED_BY_SYSTEM,
            "mode": mode,
            "started_at": started_at,
            "since": since,
            "until": until,
            "of_now": list(WINDOWLESS_KINDS),
            "of_window": list(WINDOW_KINDS),
        },
    )
    return done.rowcount


def load_cases(connection: sa.Connection, *, only_open: bool) -> list[CaseRow]:
    """The cases of the installation, newest first, at most `CASES_LISTED_MAX`."""
    rows = connection.execute(
        sa.text(f"""
            SELECT {", ".join(CaseRow._fields)} FROM reconciliation_cases
            WHERE closed_at IS NULL OR NOT :only_open ORDER BY id DESC LIMIT :most
        """),
        {"only_open": only_open, "most": CASES_LISTED_MAX},
    )
    return [CaseRow._make(row) for row in rows]


def open_case_counts(connection: sa.Connection) -> dict[str, int]:
    """How many cases of each kind are open."""
    rows = connection.execute(
        sa.text("SELECT kind, count(*) FROM reconciliation_cases WHERE closed_at IS NULL GROUP BY kind")
    )
    return {kind.value: 0 for kind in CaseKind} | {row[0]: row[1] for row in rows}


def close_case(connection: sa.Connection, case_id: uuid.UUID, person: str, reason: str, now: datetime) -> None:
    """Closes a case: a person has looked. The audit log of the wallet's organization says who.

    Raises:
        NotFound: there is no such case.
        Conflict: it is closed already.

    """
    row = connection.execute(
        sa.text("""
            SELECT reconciliation_cases.wallet_id, organization_id, closed_at, kind
            FROM reconciliation_cases LEFT JOIN wallets ON wallets.id = reconciliation_cases.wallet_id
            WHERE reconciliation_cases.id = :id FOR UPDATE OF reconciliation_cases
        """),
        {"id": case_id},
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such case")
    if row.closed_at is not None:
        raise Conflict("That case is closed already")
    connection.execute(
        sa.text(
            "UPDATE reconciliation_cases SET closed_at = :now, closed_by = :by, closed_reason = :why WHERE id = :id"
        ),
        {"id": case_id, "now": now, "by": person, "why": reason},
    )
    if row.organization_id is not None:
        actor: Actor = audit.operator_actor(row.organization_id, row.wallet_id)
        after = {"by": person, "reason": reason, "kind": row.kind}
        audit.record_entries(connection, [Entry(actor, Action.CASE_CLOSE, public_id(CASE, case_id), after=after)], now)


def close_payout_cases(
    connection: sa.Connection, payout_id: uuid.UUID, person: str, reason: str, now: datetime
) -> None:
    """Closes what is open about a payout that people have decided on."""
    connection.execute(
        sa.text("""
            UPDATE reconciliation_cases SET closed_at = :now, closed_by = :by, closed_reason = :why
            WHERE payout_id = :id AND closed_at IS NULL
        """),
        {"id": payout_id, "now": now, "by": person, "why": reason},
    )


def case_json(case: CaseRow) -> str:
    """A case as one line for programs."""
    fields = {**case._asdict(), "id": public_id(CASE, case.id)}
    return msgspec.json.encode(fields).decode()
