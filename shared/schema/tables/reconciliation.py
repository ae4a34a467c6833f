"""Reconciliation with the provider's record, and the database's identity."""

import uuid
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.controls import CaseKind, RunCause, RunStatus
from shared.schema.organizations import Mode
from shared.schema.tables.base import Base, enum_check


class ReconciliationRun(Base):
    """A comparison of our record with the provider's over a time window, in one mode."""

    __tablename__ = "reconciliation_runs"
    __table_args__ = (
        enum_check("mode", Mode),
        enum_check("status", RunStatus),
        enum_check("cause", RunCause),
        sa.Index(
            "uq_reconciliation_runs_mode_day",
            "mode",
            "day",
            unique=True,
            postgresql_where=sa.text("day IS NOT NULL AND status <> 'failed'"),
        ),
        sa.Index("ix_reconciliation_runs_mode_ended_at", "mode", "ended_at"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    mode: Mapped[str]
    """One of `Mode`."""
    cause: Mapped[str]
    """One of `RunCause`."""
    day: Mapped[date | None]
    """The day (UTC) of a daily run: at most one per mode and day is running or done; null for other causes."""
    since: Mapped[datetime]
    until: Mapped[datetime]
    """The window: payments made in it are compared."""
    status: Mapped[str]
    """One of `RunStatus`."""
    payments: Mapped[int] = mapped_column(server_default="0")
    """Payments read from the provider."""
    differences: Mapped[int] = mapped_column(server_default="0")
    """Differences found, including those with an open case."""
    balance_gap_cents: Mapped[int | None]
    """The provider's balance minus the balance expected from our ledger; constant while both agree. Null: not compared,
    as payments were under way."""
    error: Mapped[str | None]
    """Why it failed."""
    started_at: Mapped[datetime]
    heard_at: Mapped[datetime]
    """Last heartbeat of the process that runs it; without one for long the run counts as abandoned."""
    ended_at: Mapped[datetime | None]


class ReconciliationCase(Base):
    """A difference for an operator to examine; found again, it stays the same case."""

    __tablename__ = "reconciliation_cases"
    __table_args__ = (
        enum_check("mode", Mode),
        enum_check("kind", CaseKind),
        sa.Index("ix_reconciliation_cases_subject_kind", "subject", "kind"),
        sa.Index(
            "uq_reconciliation_cases_kind_mode_subject_open",
            "kind",
            "mode",
            "subject",
            unique=True,
            postgresql_where=sa.text("closed_at IS NULL"),
        ),
        sa.Index("ix_reconciliation_cases_payout_id", "payout_id", postgresql_where=sa.text("payout_id IS NOT NULL")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    """One of `CaseKind`."""
    mode: Mapped[str]
    """One of `Mode`."""
    subject: Mapped[str]
    """The provider's payment, else our payout and attempt, else the mode. Identifies the case together with kind and
    mode; at most one such case is open."""
    wallet_id: Mapped[uuid.UUID | None]
    """Whose money it concerns, if known."""
    payout_id: Mapped[uuid.UUID | None]
    """Our payout, if any; for a payment unknown to us, the payout put on hold because of it."""
    submission_id: Mapped[uuid.UUID | None]
    """Our request to the provider, if any."""
    payment_id: Mapped[str | None]
    """The provider's payment, if any."""
    ours: Mapped[dict[str, object] | None]
    """Our data; null: none."""
    theirs: Mapped[dict[str, object] | None]
    """The provider's data; null: none."""
    about_at: Mapped[datetime]
    """When the payment was made: a run whose window includes it, without finding the difference again, closes the
    case."""
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    """Null: open."""
    closed_by: Mapped[str | None]
    """An operator, or `system` for a difference that disappeared."""
    closed_reason: Mapped[str | None]


class PayoutResolution(Base):
    """A decision on whether a payout with an unknown outcome was paid; in production two people must agree."""

    __tablename__ = "payout_resolutions"
    __table_args__ = (
        sa.CheckConstraint("outcome IN ('paid', 'not-paid')", name="outcome"),
        sa.CheckConstraint("confirmed_by <> proposed_by OR NOT needs_two", name="two_people"),
        sa.Index("ix_payout_resolutions_payout_id_attempt", "payout_id", "attempt"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    payout_id: Mapped[uuid.UUID]
    attempt: Mapped[int] = mapped_column(sa.Integer)
    outcome: Mapped[str]
    """`paid` or `not-paid`."""
    needs_two: Mapped[bool]
    """Whether a second person must confirm it: in production."""
    reason: Mapped[str]
    """The proposer's evidence."""
    proposed_by: Mapped[str]
    """A user's email; where one person suffices, an operator as in `root@host`."""
    proposed_at: Mapped[datetime]
    confirmed_by: Mapped[str | None]
    """Who confirmed it; where one person suffices, the proposer. Null: only proposed, not applied."""
    confirmed_reason: Mapped[str | None]
    """The confirmer's evidence."""
    confirmed_at: Mapped[datetime | None]
    """When it was applied."""


class Installation(Base):
    """The single row that identifies the database and detects a restored backup; see
    `shared.controls.reconciliation.database_identity`.
    """

    __tablename__ = "installation"
    __table_args__ = (sa.CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True, autoincrement=False)
    """Always 1."""
    server_started_at: Mapped[datetime | None]
    """Start time of the server process for which the identity was last checked; null: not yet."""
    written_by: Mapped[int]
    """Id of the transaction that wrote this row; equals its `xmin` unless the row was restored from a dump."""
    system_identifier: Mapped[str | None]
    """PostgreSQL's identifier of the cluster."""
    timeline: Mapped[int | None]
    """The cluster's timeline: point-in-time recovery and a promoted standby start a new one."""
    database_oid: Mapped[int | None]
    """The database within the cluster."""
    alive_at: Mapped[datetime | None]
    """When the identity last matched, accurate to a minute: in a restored backup, about when it was taken."""
    reconcile_only_since: Mapped[datetime | None]
    """Since when no money is sent; null: it may be sent."""
    reconcile_only_reason: Mapped[str | None]
    by_hand: Mapped[bool] = mapped_column(server_default=sa.text("false"))
    """Whether an operator set it: only an operator can then end it."""
    compare_since: Mapped[datetime | None]
    """The provider's record has to be compared from this time on before it may end."""
    compared_at: Mapped[datetime | None]
    """When every payment since then and every idempotency key of ours was compared; null: not yet."""
