"""Payouts, and the history of what happened to each."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.payouts import PayoutStatus, Rail
from shared.schema.tables.base import Base, enum_check


class Payout(Base):
    """One payment to one driver."""

    __tablename__ = "payouts"
    __table_args__ = (
        enum_check("status", PayoutStatus),
        enum_check("rail", Rail),
        sa.CheckConstraint("amount_cents > 0 AND fee_cents >= 0 AND fee_cents < amount_cents", name="amounts"),
        sa.Index("ix_payouts_wallet_id_id", "wallet_id", sa.text("id DESC")),
        sa.Index("ix_payouts_wallet_id_status_id", "wallet_id", "status", sa.text("id DESC")),
        sa.Index("ix_payouts_driver_id_id", "driver_id", sa.text("id DESC")),
        sa.Index(
            "ix_payouts_due",
            "status",
            "next_action_at",
            postgresql_where=sa.text("next_action_at IS NOT NULL"),
        ),
        sa.Index("ix_payouts_held", "id", postgresql_where=sa.text("held_reason IS NOT NULL")),
        sa.Index("ix_payouts_batch_id_id", "batch_id", "id", postgresql_where=sa.text("batch_id IS NOT NULL")),
        sa.Index(
            "ix_payouts_live_load",
            "driver_id",
            "load_id",
            "id",
            postgresql_where=sa.text(
                "load_id IS NOT NULL "
                "AND (status IN ('validated', 'queued', 'processing', 'completed') OR held_reason IS NOT NULL)"
            ),
        ),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID]
    """Whose money it moves."""
    driver_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("drivers.id"))
    """Who gets it."""
    load_id: Mapped[str | None]
    """The customer's id of the load that is paid for."""
    batch_id: Mapped[uuid.UUID | None]
    """The batch that it travels in; its money is reserved when the batch is released."""
    duplicate_of: Mapped[uuid.UUID | None]
    """The live payout for the same driver and load that was there when this one was accepted."""
    duplicate_reason: Mapped[str | None]
    """Why the customer wanted a second payout for the load, where the request said so."""
    scenario: Mapped[str | None]
    """What the sandbox plays with it; null in production, and where nothing special was asked for."""
    amount_cents: Mapped[int]
    """What the wallet pays."""
    fee_cents: Mapped[int]
    """What we keep of it, by the price list at acceptance."""
    rail: Mapped[str]
    """One of `Rail`; from the request's urgency."""
    status: Mapped[str]
    """One of `PayoutStatus`; written by `shared.payouts.lifecycle` alone."""
    description: Mapped[str | None]
    """The customer's words; passed on to the provider."""
    requested_by: Mapped[str | None]
    """Who asked for an instant payout, in the customer's words."""
    reserved: Mapped[bool]
    """Whether its amount is in `in_transit`; false for a batch payout before its release and at every end."""
    sequence: Mapped[int] = mapped_column(sa.Integer)
    """The number of its latest history row; counts up by one with every transition."""
    attempt: Mapped[int] = mapped_column(sa.Integer)
    """1, and one more for every retry that a person asked for."""
    submission_id: Mapped[uuid.UUID | None]
    """The submission that carries the current attempt; set on the way to `processing`."""
    failure_code: Mapped[str | None]
    """Why it failed or was returned, as the provider's code; null again after a retry."""
    failure_message: Mapped[str | None]
    """The same as a sentence."""
    held_reason: Mapped[str | None]
    """Set when what the provider says contradicts our record: nothing moves until a person has looked."""
    held_at: Mapped[datetime | None]
    """When that was."""
    polls: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """How often the provider was asked about this attempt; drives the backoff of asking again."""
    polled_at: Mapped[datetime | None]
    """When the provider was last asked about it, whichever the attempt."""
    requested_at: Mapped[datetime]
    """When it was accepted."""
    updated_at: Mapped[datetime]
    """When its status last changed."""
    completed_at: Mapped[datetime | None]
    """When we learned that it was paid."""
    canceled_at: Mapped[datetime | None]
    """When the customer called it off."""
    next_action_at: Mapped[datetime | None]
    """When the tick rings for it: to queue, to submit, or to ask the provider; null: nothing is expected of us."""


class PayoutTransition(Base):
    """One step of one payout. Append-only."""

    __tablename__ = "payout_transitions"

    payout_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    """1 for the acceptance, then counting up without gaps."""
    from_status: Mapped[str | None]
    """Null for the acceptance."""
    to_status: Mapped[str]
    attempt: Mapped[int] = mapped_column(sa.Integer)
    """The payout's attempt after the step."""
    reason: Mapped[str]
    """What caused it, in a few words: an actor, an event, a person."""
    failure_code: Mapped[str | None]
    """Why it failed, was returned or could not be paid; the payout's own is gone after a retry."""
    created_at: Mapped[datetime]
    """When."""
