"""Reconciliation: our record against the provider's, what differs, what people decided, and whether money may leave."""

import uuid
from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.organizations import Mode
from shared.schema.reconciliation import CaseKind, RunCause, RunStatus
from shared.schema.tables.base import Base, enum_check


class ReconciliationRun(Base):
    """One comparison of the two records over a window of time, in one mode."""

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
    """One of `Mode`: which of the provider's two worlds."""
    cause: Mapped[str]
    """One of `RunCause`."""
    day: Mapped[date | None]
    """The day (UTC) whose daily run it is: there is one that runs or is done; null for other causes."""
    since: Mapped[datetime]
    until: Mapped[datetime]
    """The window: payments made in it are compared."""
    status: Mapped[str]
    """One of `RunStatus`."""
    payments: Mapped[int] = mapped_column(server_default="0")
    """How many payments of the provider's were read."""
    differences: Mapped[int] = mapped_column(server_default="0")
    """How many differences were seen, of which some may be cases of before."""
    balance_gap_cents: Mapped[int | None]
    """The provider's balance less what it should be by our ledger; it stays the same while all is well. Null: not
    compared, for payments were under way."""
    error: Mapped[str | None]
    """Why it failed."""
    started_at: Mapped[datetime]
    heard_at: Mapped[datetime]
    """When whoever runs it was last heard of: one that has been silent for long is given up."""
    ended_at: Mapped[datetime | None]


class ReconciliationCase(Base):
    """One difference, for a person to look at. The same difference seen again is the same case."""

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
    """What it is about: the provider's payment, else our payout and attempt, else the mode. With the kind and the mode
    it tells one case from another; one of them is open at the most."""
    wallet_id: Mapped[uuid.UUID | None]
    """Whose money it is about, where we know."""
    payout_id: Mapped[uuid.UUID | None]
    """Our payout, where there is one; of a payment that we do not know: the payout that was held because of it."""
    submission_id: Mapped[uuid.UUID | None]
    """Our request to the provider, where there is one."""
    payment_id: Mapped[str | None]
    """The provider's payment, where there is one."""
    ours: Mapped[dict[str, object] | None]
    """What we say; null: nothing."""
    theirs: Mapped[dict[str, object] | None]
    """What the provider says; null: nothing."""
    about_at: Mapped[datetime]
    """When the payment was made: a run whose window this lies in, and that does not see the difference again, closes
    the case."""
    first_seen_at: Mapped[datetime]
    last_seen_at: Mapped[datetime]
    closed_at: Mapped[datetime | None]
    """Null: open."""
    closed_by: Mapped[str | None]
    """Who closed it: a person, or `system` for a difference that was gone."""
    closed_reason: Mapped[str | None]
    """Why, in that person's words."""


class PayoutResolution(Base):
    """What people said became of a payout that nobody knew the end of; in production two of them."""

    __tablename__ = "payout_resolutions"
    __table_args__ = (
        sa.CheckConstraint("outcome IN ('paid', 'not-paid')", name="outcome"),
        sa.CheckConstraint("confirmed_by <> proposed_by OR NOT needs_two", name="two_people"),
        sa.Index("ix_payout_resolutions_payout_id_attempt", "payout_id", "attempt"),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    payout_id: Mapped[uuid.UUID]
    attempt: Mapped[int] = mapped_column(sa.Integer)
    """The payout's attempt that it is about."""
    outcome: Mapped[str]
    """`paid` or `not-paid`."""
    needs_two: Mapped[bool]
    """Whether a second person has to say the same: in production."""
    reason: Mapped[str]
    """How the first one knows."""
    proposed_by: Mapped[str]
    """Who that was: a user's email, or where one person is enough an operator's login and machine."""
    proposed_at: Mapped[datetime]
    confirmed_by: Mapped[str | None]
    """Who said the same; where one person is enough, the same person. Null: proposed only, nothing was done."""
    confirmed_reason: Mapped[str | None]
    """How the second one knows."""
    confirmed_at: Mapped[datetime | None]
    """When it was done."""


class Installation(Base):
    """The one row by which a database knows that it is still the same one, and not an older copy of itself: while the
    row does not match the server, nothing that moves money leaves. See
    `shared.controls.reconciliation.database_identity`.
    """

    __tablename__ = "installation"
    __table_args__ = (sa.CheckConstraint("id = 1", name="single"),)

    id: Mapped[int] = mapped_column(sa.SmallInteger, primary_key=True, autoincrement=False)
    """Always 1."""
    server_started_at: Mapped[datetime | None]
    """The start of the server's life for which the provider's record was last looked at; null: not yet."""
    written_by: Mapped[int]
    """The transaction that wrote this row, as its `xmin` says too; a row that came out of a dump says another."""
    system_identifier: Mapped[str | None]
    """The cluster, as PostgreSQL names it."""
    timeline: Mapped[int | None]
    """The cluster's history: recovery to an earlier point, and a standby that takes over, begin another one."""
    database_oid: Mapped[int | None]
    """The database within the cluster."""
    alive_at: Mapped[datetime | None]
    """When this database was last known to be the right one, to the minute: in a copy, when that was made."""
    reconcile_only_since: Mapped[datetime | None]
    """Since when nothing leaves; null: it may."""
    reconcile_only_reason: Mapped[str | None]
    """Why."""
    by_hand: Mapped[bool] = mapped_column(server_default=sa.text("false"))
    """Whether a person set it: it then ends by a person too."""
    compare_since: Mapped[datetime | None]
    """From when on the provider's record has to be compared before it may end."""
    compared_at: Mapped[datetime | None]
    """When that was done, every payment in it and every key of ours; null: not yet."""
