"""The audit log."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.audit import MOST_FREQUENT_ACTION, ActorKind
from shared.schema.tables.base import Base, enum_check


class AuditEntry(Base):
    """One action. Append-only; personal data is masked, secrets are left out."""

    __tablename__ = "audit_entries"
    __table_args__ = (
        enum_check("actor_kind", ActorKind),
        sa.Index("ix_audit_entries_organization_id_object_id_id", "organization_id", "object_id", sa.text("id DESC")),
        sa.Index("ix_audit_entries_request_id", "request_id", postgresql_where=sa.text("request_id IS NOT NULL")),
        sa.Index("ix_audit_entries_key_id_id", "key_id", "id", postgresql_where=sa.text("key_id IS NOT NULL")),
        sa.Index("ix_audit_entries_user_id_id", "user_id", "id", postgresql_where=sa.text("user_id IS NOT NULL")),
        sa.Index(
            "ix_audit_entries_organization_id_action_id",
            "organization_id",
            "action",
            sa.text("id DESC"),
            postgresql_where=sa.text(f"action <> '{MOST_FREQUENT_ACTION.value}'"),
        ),
    )

    organization_id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    """Whose log it is in; first in the primary key, which serves as the index of a log by time."""
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID | None]
    """The wallet it concerns; null for users, sessions and other objects without a wallet."""
    at: Mapped[datetime]
    actor_kind: Mapped[str]
    """One of `ActorKind`."""
    user_id: Mapped[uuid.UUID | None]
    """The user who did it, if a user did."""
    key_id: Mapped[uuid.UUID | None]
    """The API key that was used, if one was."""
    address: Mapped[str | None]
    """IP address of the request; for an operator login and host, as in `root@host`."""
    request_id: Mapped[uuid.UUID | None]
    """`meta.requestId` of the response."""
    action: Mapped[str]
    """One of `Action`; without a check constraint: a new action needs no migration."""
    object_kind: Mapped[str]
    """Kind of the object, as in `payout`."""
    object_id: Mapped[str | None]
    """Its public id, as in `pay_…`; null for several objects, whose ids are in `after`."""
    before: Mapped[dict[str, object] | None]
    """Old values of the changed fields."""
    after: Mapped[dict[str, object] | None]
    """New values of the changed fields."""
