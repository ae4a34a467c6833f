"""The audit log: who did what to which object."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.audit import MOST_FREQUENT_ACTION, ActorKind
from shared.schema.tables.base import Base, enum_check


class AuditEntry(Base):
    """One action, written in the transaction that did it, and never changed. It has no secrets and no personal data: of
    a driver's name, email, phone and bank account it says that they changed, not what they were or are.
    """

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
    """Whose log it is in; first in the key, which so is the index of a log from its newest entry on."""
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID | None]
    """The wallet that it was done in; null for what has none, as users and sessions."""
    at: Mapped[datetime]
    """When."""
    actor_kind: Mapped[str]
    """One of `ActorKind`."""
    user_id: Mapped[uuid.UUID | None]
    """The user who did it."""
    key_id: Mapped[uuid.UUID | None]
    """The API key with which it was done."""
    address: Mapped[str | None]
    """The address that the request came from; for an operator his login and machine, as in `root@host`."""
    request_id: Mapped[uuid.UUID | None]
    """The request that did it: `meta.requestId` of its answer."""
    action: Mapped[str]
    """One of `Action`; no check holds it to them, so that one more needs no migration."""
    object_kind: Mapped[str]
    """What it was done to, as in `payout`."""
    object_id: Mapped[str | None]
    """Its id as the API shows it, as in `pay_…`; null where there are several, whose ids are in `after`."""
    before: Mapped[dict[str, object] | None]
    """The fields that it changed, as they were."""
    after: Mapped[dict[str, object] | None]
    """The same fields as they are now."""
