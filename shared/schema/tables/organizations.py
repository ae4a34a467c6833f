"""Organizations, users, sessions, wallets and API keys."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.organizations import ApprovalStatus, DuplicateLoads, Mode, Role
from shared.schema.tables.base import Base, enum_check


class Organization(Base):
    """A carrier, the customer of OVN Pay."""

    __tablename__ = "organizations"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    """IANA name of the zone that defines its days; written only by `shared.reporting.analytics.time_zones`, as the
    sums by day have to be rebuilt."""
    created_at: Mapped[datetime]


class User(Base):
    """A person who signs in for an organization."""

    __tablename__ = "users"
    __table_args__ = (enum_check("role", Role),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("organizations.id"))
    """A user belongs to one organization."""
    email: Mapped[str] = mapped_column(unique=True)
    """Login name, in lower case."""
    password_hash: Mapped[str]
    """Argon2id, with its parameters and salt."""
    role: Mapped[str]
    """One of `Role`."""
    created_at: Mapped[datetime]


class Wallet(Base):
    """One organization's money in one mode."""

    __tablename__ = "wallets"
    __table_args__ = (
        enum_check("mode", Mode),
        enum_check("duplicate_loads", DuplicateLoads),
        sa.Index(
            "uq_wallets_organization_id_mode",
            "organization_id",
            "mode",
            unique=True,
            postgresql_where=sa.text("retired_at IS NULL"),
        ),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("organizations.id"))
    mode: Mapped[str]
    """One of `Mode`; selects the provider's test or live key."""
    currency: Mapped[str] = mapped_column(server_default="USD")
    """ISO 4217 code of every amount in the wallet."""
    duplicate_loads: Mapped[str] = mapped_column(server_default="warn")
    """One of `DuplicateLoads`."""
    low_balance_cents: Mapped[int | None]
    """An available balance below it sends `balance.low`; null: never."""
    departed_at: Mapped[datetime | None]
    """When its standard payouts were last dispatched together, used while the provider's limit makes them wait."""
    created_at: Mapped[datetime]
    retired_at: Mapped[datetime | None]
    """When a sandbox reset replaced it; its open payouts end in it, and no API request shows it."""


class ApiKey(Base):
    """A credential of a wallet. The key itself is never stored."""

    __tablename__ = "api_keys"
    __table_args__ = (
        enum_check("approval_status", ApprovalStatus),
        sa.Index("ix_api_keys_created_by_id", "created_by", sa.text("id DESC")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("wallets.id"), index=True)
    """The only wallet that it gives access to."""
    name: Mapped[str]
    """Chosen by its owner."""
    prefix: Mapped[str]
    """`ovnp_sbox_` or `ovnp_prod_`: the only part of the key that lists show."""
    key_hash: Mapped[bytes | None] = mapped_column(unique=True)
    """HMAC-SHA256 of the key under the installation's pepper; null until the key exists."""
    key_pepper: Mapped[bytes | None]
    """Tag of that pepper; null: the pepper from before tags were stored. During a rotation `key_hash` is renewed when
    the key is used."""
    scopes: Mapped[list[str]]
    """As in `payouts:write`."""
    created_by: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id"))
    """The user who requested it."""
    approval_status: Mapped[str]
    """One of `ApprovalStatus`; sandbox keys are approved from the start."""
    approval_reason: Mapped[str | None]
    """Why a production key is needed, from its owner."""
    decided_by: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id"))
    """The admin who approved or rejected a production key."""
    decided_at: Mapped[datetime | None]
    rejection_reason: Mapped[str | None]
    """From the admin."""
    created_at: Mapped[datetime]
    """When it was requested."""
    expires_at: Mapped[datetime | None]
    """Refused from then on; null: never expires."""
    last_used_at: Mapped[datetime | None]
    """Accurate to a minute."""
    rate_limit_per_minute: Mapped[int | None] = mapped_column(sa.Integer)
    """Requests per minute; null: the installation's limit."""
    previous_key_hash: Mapped[bytes | None] = mapped_column(unique=True)
    """Hash of the key that this one replaced, while both are valid."""
    previous_valid_until: Mapped[datetime | None]
    """When the replaced key stops being valid."""
    revoked_at: Mapped[datetime | None]
    """Final: a revoked key never becomes valid again."""


class Session(Base):
    """A user's sign-in. The token itself is never stored."""

    __tablename__ = "sessions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id"), index=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    """HMAC-SHA256 of the token under the installation's pepper."""
    created_at: Mapped[datetime]
    """When the user signed in."""
    last_seen_at: Mapped[datetime]
    """Last use, accurate to a minute; an idle session ends, see `shared.identity.sessions`."""
    expires_at: Mapped[datetime]
    """When it ends even if it is in use."""
    revoked_at: Mapped[datetime | None]
    """When the user signed out."""
