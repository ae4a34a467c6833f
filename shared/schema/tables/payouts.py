"""Payouts and their history."""

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
    load_id: Mapped[str | None]
    """The customer's id of the load that it pays for."""
    batch_id: Mapped[uuid.UUID | None]
    """Its batch, if any; its money is reserved when the batch is released."""
    duplicate_of: Mapped[uuid.UUID | None]
    """The live payout for the same driver and load that existed when this one was accepted."""
    duplicate_reason: Mapped[str | None]
    """The request's reason for a second payout for the load."""
    scenario: Mapped[str | None]
    """The sandbox scenario that the provider simulates; null in production and without one."""
    amount_cents: Mapped[int]
    """What the wallet pays, fee included."""
    fee_cents: Mapped[int]
    """Our part of it, by the price list at acceptance."""
    rail: Mapped[str]
    """One of `Rail`; from the request's urgency."""
    status: Mapped[str]
    """One of `PayoutStatus`; written by `shared.payouts.lifecycle` alone."""
    description: Mapped[str | None]
    """Given by the customer; passed on to the provider."""
    requested_by: Mapped[str | None]
    """Who requested an instant payout, given by the customer."""
    reserved: Mapped[bool]
    """Whether its amount is in `in_transit`; false before its batch's release and in every final status."""
    sequence: Mapped[int] = mapped_column(sa.Integer)
    """Sequence of its latest transition; increases by one with each."""
    attempt: Mapped[int] = mapped_column(sa.Integer)
    """1, plus one for every requested retry."""
    submission_id: Mapped[uuid.UUID | None]
    """The current attempt's submission; set by the transition to `processing`."""
    failure_code: Mapped[str | None]
    """Why it failed or was returned, as the provider's code; null again after a retry."""
    failure_message: Mapped[str | None]
    """The same as a sentence."""
    held_reason: Mapped[str | None]
    """Why it is on hold, usually because the provider contradicts our record; it stays until an operator decides."""
    held_at: Mapped[datetime | None]
    """When it was put on hold."""
    polls: Mapped[int] = mapped_column(sa.Integer, server_default="0")
    """How often the provider was polled about this attempt; sets the backoff."""
    polled_at: Mapped[datetime | None]
    """When the provider was last polled about any attempt."""
    requested_at: Mapped[datetime]
    """When it was accepted."""
    updated_at: Mapped[datetime]
    """When its status last changed."""
    completed_at: Mapped[datetime | None]
    """When we learned that it was paid."""
    canceled_at: Mapped[datetime | None]
    next_action_at: Mapped[datetime | None]
    """When the scheduler enqueues it: to queue, to submit or to poll the provider; null: no step is expected."""


class PayoutTransition(Base):
    """One status change of a payout. Append-only."""

    __tablename__ = "payout_transitions"

    payout_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(sa.Integer, primary_key=True)
    """1 for the acceptance, then increasing without gaps."""
    from_status: Mapped[str | None]
    """Null for the acceptance."""
    to_status: Mapped[str]
    attempt: Mapped[int] = mapped_column(sa.Integer)
    """The payout's attempt after the transition."""
    reason: Mapped[str]
    """The cause in a few words: a task, an event, an actor."""
    failure_code: Mapped[str | None]
    """Why it failed, was returned or could not be paid; kept here when a retry clears the payout's own."""
    created_at: Mapped[datetime]
