"""Submissions: what we are about to ask the provider, written down before we ask."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.submissions import SubmissionKind, SubmissionStatus
from shared.schema.tables.base import Base, Leased, due_index, enum_check


class Submission(Leased, Base):
    """One request to the provider. Its id is the idempotency key; its request never changes."""

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
    """The body as it is sent, each time the same."""
    provider_id: Mapped[str | None]
    """The provider's id of the payment or batch, once accepted."""
    first_sent_at: Mapped[datetime | None]
    """When it was first about to be sent: the key's lifetime counts from here."""
    answered_at: Mapped[datetime | None]
    """When a definite answer came."""
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    """What the provider, or the network, said last."""
    unclear_answers: Mapped[list[dict[str, object]] | None] = mapped_column(pg.JSONB())
    """What came back before that and decided nothing, oldest first, at most the newest 50: `at`, the `status` it left,
    and the `message`; null: nothing did."""
    created_at: Mapped[datetime]


class SubmissionItem(Base):
    """One payout's place in a submission."""

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
    """Its place in the request's list, from 0."""
    payout_id: Mapped[uuid.UUID]
    attempt: Mapped[int] = mapped_column(sa.Integer)
    """The payout's attempt that it carries: at most one live item for each."""
    net_cents: Mapped[int]
    """What the driver is to receive: what we ask the provider to pay."""
    recipient_id: Mapped[str]
    """Whom we ask it to pay."""
    provider_payment_id: Mapped[str | None]
    """The provider's id of this payment (`pay_…`), from its answer."""
    dissolved: Mapped[bool] = mapped_column(server_default=sa.text("false"))
    """True when the provider refused the whole batch and the payout went on in a submission of its own."""
