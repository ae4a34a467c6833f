"""Reconciliation cases: differences recorded once for review, closed when gone or reviewed."""

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
"""Kinds that a comparison finds again only if its window contains the payment."""
WINDOWLESS_KINDS: Final = (K.UNRESOLVED, K.CONTRADICTION, K.BALANCE)
"""Kinds that every comparison finds again, regardless of its window."""
CLOSED_BY_SYSTEM: Final = "system"
"""Value of `closed_by` for cases that no person closed."""
CASES_LISTED_MAX: Final = 1_000


class Difference(NamedTuple):
    """A difference between the two records; see `shared.schema.tables.reconciliation.ReconciliationCase`."""

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
    """A case."""

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


# Updates open cases, skips those that a reviewer closed with the same facts, and inserts the others. Locks the updated
# cases' rows. For a reviewed case a later payment status counts as a change only if the status is the difference.
_RECORD_DIFFERENCES: Final = sa.text("""
    WITH seen AS (
        SELECT * FROM json_to_recordset(CAST(:seen AS json)) AS seen (
            id uuid, kind text, subject text, about_at timestamptz, ours jsonb, theirs jsonb, wallet_id uuid,
            payout_id uuid, submission_id uuid, payment_id text)
    ), still_open AS (
        UPDATE reconciliation_cases AS known SET last_seen_at = :now, ours = seen.ours, theirs = seen.theirs
        FROM seen WHERE known.closed_at IS NULL AND known.mode = :mode
             AND known.kind = seen.kind AND known.subject = seen.subject
        RETURNING known.kind, known.subject
    ), reviewed AS (
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
    WHERE NOT EXISTS (
              SELECT FROM still_open WHERE (still_open.kind, still_open.subject) = (seen.kind, seen.subject))
      AND NOT EXISTS (SELECT FROM reviewed WHERE (reviewed.kind, reviewed.subject) = (seen.kind, seen.subject))
    ON CONFLICT DO NOTHING
""")


def record_differences(connection: sa.Connection, mode: str, differences: Sequence[Difference], now: datetime) -> int:
    """Record the differences; return how many cases are new: neither open nor reviewed with the same facts."""
    if not differences:
        return 0
    distinct = {(one.kind, one.subject): one for one in differences}
    done = connection.execute(
        _RECORD_DIFFERENCES,
        {
            "mode": mode,
            "now": now,
            "system": CLOSED_BY_SYSTEM,
            "seen": encode_rows({"id": new_id(), **one._asdict()} for one in distinct.values()),
        },
    )
    return done.rowcount


# Closes open cases that a run should have seen again and has not; locks their rows.
_CLOSE_RESOLVED: Final = sa.text("""
    UPDATE reconciliation_cases
    SET closed_at = :now, closed_by = :system, closed_reason = 'the difference was gone'
    WHERE closed_at IS NULL AND mode = :mode AND last_seen_at < :started_at
          AND (kind = ANY(:windowless) OR kind = ANY(:of_window) AND about_at BETWEEN :since AND :until)
""")


def close_resolved_cases(
    connection: sa.Connection, mode: str, since: datetime, until: datetime, started_at: datetime, now: datetime
) -> int:
    """Close cases that a comparison of the window should have seen again and has not."""
    done = connection.execute(
        _CLOSE_RESOLVED,
        {
            "now": now,
            "system": CLOSED_BY_SYSTEM,
            "mode": mode,
            "started_at": started_at,
            "since": since,
            "until": until,
            "windowless": list(WINDOWLESS_KINDS),
            "of_window": list(WINDOW_KINDS),
        },
    )
    return done.rowcount


def load_cases(connection: sa.Connection, *, only_open: bool) -> list[CaseRow]:
    """Return the cases of the installation, newest first, at most `CASES_LISTED_MAX`."""
    rows = connection.execute(
        sa.text(f"""
            SELECT {", ".join(CaseRow._fields)} FROM reconciliation_cases
            WHERE closed_at IS NULL OR NOT :only_open ORDER BY id DESC LIMIT :most
        """),
        {"only_open": only_open, "most": CASES_LISTED_MAX},
    )
    return [CaseRow._make(row) for row in rows]


# Open cases by kind; locks nothing.
_OPEN_COUNTS: Final = sa.text("SELECT kind, count(*) FROM reconciliation_cases WHERE closed_at IS NULL GROUP BY kind")


def open_case_counts(connection: sa.Connection) -> dict[str, int]:
    """Return the number of open cases of each kind."""
    rows = connection.execute(_OPEN_COUNTS)
    return {kind.value: 0 for kind in CaseKind} | {row[0]: row[1] for row in rows}


# Locks the case.
_LOCK_CASE: Final = sa.text("""
    SELECT reconciliation_cases.wallet_id, organization_id, closed_at, kind
    FROM reconciliation_cases LEFT JOIN wallets ON wallets.id = reconciliation_cases.wallet_id
    WHERE reconciliation_cases.id = :id FOR UPDATE OF reconciliation_cases
""")

# Closes one case, locked before.
_CLOSE_CASE: Final = sa.text(
    "UPDATE reconciliation_cases SET closed_at = :now, closed_by = :by, closed_reason = :why WHERE id = :id"
)

# Closes a payout's open cases; locks their rows.
_CLOSE_PAYOUT_CASES: Final = sa.text("""
    UPDATE reconciliation_cases SET closed_at = :now, closed_by = :by, closed_reason = :why
    WHERE payout_id = :id AND closed_at IS NULL
""")


def close_case(connection: sa.Connection, case_id: uuid.UUID, reviewer: str, reason: str, now: datetime) -> None:
    """Close a case that was reviewed, and record it in the audit log of the wallet's organization.

    Raises:
        NotFound: there is no such case.
        Conflict: it is closed already.

    """
    row = connection.execute(_LOCK_CASE, {"id": case_id}).one_or_none()
    if row is None:
        raise NotFound("There is no such case")
    if row.closed_at is not None:
        raise Conflict("That case is closed already")
    connection.execute(_CLOSE_CASE, {"id": case_id, "now": now, "by": reviewer, "why": reason})
    if row.organization_id is not None:
        actor: Actor = audit.operator_actor(row.organization_id, row.wallet_id)
        after = {"by": reviewer, "reason": reason, "kind": row.kind}
        audit.record_entries(connection, [Entry(actor, Action.CASE_CLOSE, public_id(CASE, case_id), after=after)], now)


def close_payout_cases(
    connection: sa.Connection, payout_id: uuid.UUID, reviewers: str, reason: str, now: datetime
) -> None:
    """Close the open cases of a payout that reviewers have resolved."""
    connection.execute(_CLOSE_PAYOUT_CASES, {"id": payout_id, "now": now, "by": reviewers, "why": reason})


def case_json(case: CaseRow) -> str:
    """Return a case as one line of JSON."""
    fields = {**case._asdict(), "id": public_id(CASE, case.id)}
    return msgspec.json.encode(fields).decode()
