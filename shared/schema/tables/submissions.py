"""Submissions to the provider, and its rate limits."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.payouts import SubmissionKind, SubmissionStatus
from shared.schema.tables.base import Base, Leased, due_index, enum_check


class Submission(Leased, Base):
    """A request to the provider, stored before it is sent and never changed; its id is the idempotency key."""

    __tablename__ = "submissions"
    __table_args__ = (
        enum_check("status", SubmissionStatus),
        enum_check("kind", SubmissionKind),
        due_index("submissions"),
        sa.Index("ix_submissions_unresolved", "id", postgresql_where=sa.text("status = 'unresolved'")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID]
    kind: Mapped[str]
    """One of `SubmissionKind`."""
    rail: Mapped[str]
    """The rail of all its payouts."""
    status: Mapped[str]
    """One of `SubmissionStatus`."""
    request: Mapped[dict[str, object]]
    """The body, identical on every send."""
    provider_id: Mapped[str | None]
    """The provider's id of the payment or batch, once accepted."""
    first_sent_at: Mapped[datetime | None]
    """Written before the first send: the idempotency key's lifetime starts here."""
    answered_at: Mapped[datetime | None]
    """When a definite answer arrived."""
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    """The last error of the provider or the network."""
    unclear_answers: Mapped[list[dict[str, object]] | None] = mapped_column(pg.JSONB())
    """Earlier indefinite answers, oldest first, the newest 50 at most: `at`, the resulting `status` and the `message`;
    null: none."""
    created_at: Mapped[datetime]


class SubmissionItem(Base):
    """One payout in a submission."""

    __tablename__ = "submission_items"
    __table_args__ = (
        sa.Index(
            "uq_submission_items_payout_id_attempt_live",
            "payout_id",
            "attempt",
            unique=True,
            postgresql_where=sa.text("NOT dissolved"),
        ),
        sa.Index(
            "uq_submission_items_provider_payment_id",
            "provider_payment_id",
            unique=True,
            postgresql_where=sa.text("provider_payment_id IS NOT NULL"),
        ),
        sa.Index("ix_submission_items_payout_id_dissolved", "payout_id", postgresql_where=sa.text("dissolved")),
    )

    submission_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    position: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    """Index in the request's list, from 0."""
    payout_id: Mapped[uuid.UUID]
    attempt: Mapped[int] = mapped_column(sa.Integer)
    """The payout's attempt: a unique index allows one item per attempt that is not dissolved."""
    net_cents: Mapped[int]
    """What the driver receives."""
    recipient_id: Mapped[str]
    """The driver's id at the provider."""
    provider_payment_id: Mapped[str | None]
    """The provider's id of this payment (`pay_…`), from its answer."""
    dissolved: Mapped[bool] = mapped_column(server_default=sa.text("false"))
    """Whether the provider refused the whole batch and the payout was resubmitted by itself."""


class ProviderLimit(Base):
    """A rate limit of the provider, shared by all processes; see `shared.provider.call_budget`."""

    __tablename__ = "provider_limits"

    name: Mapped[str] = mapped_column(primary_key=True)
    """The mode, whose provider key is limited, and the kind of calls."""
    paused_until: Mapped[datetime | None]
    """No calls until then: the provider asked for a pause."""


class ProviderCalls(Base):
    """Calls made under a limit in one slice of its window."""

    __tablename__ = "provider_calls"

    name: Mapped[str] = mapped_column(primary_key=True)
    """The limit's name."""
    began_at: Mapped[datetime] = mapped_column(primary_key=True)
    """Start of the slice, by the database's clock."""
    calls: Mapped[int]
