"""Who uses the system: organizations, their users, their wallets (one a mode) and the keys to them."""

import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.organizations import ApprovalStatus, DuplicateLoads, Mode, Role
from shared.schema.tables.base import Base, enum_check


class Organization(Base):
    """A carrier: the customer of OVN Pay."""

    __tablename__ = "organizations"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    """Its name, for people."""
    time_zone: Mapped[str] = mapped_column(server_default="UTC")
    """The IANA name of the zone in which it counts its days; set by `shared.reporting.analytics.time_zones`
    alone, because the sums by day have to follow."""
    created_at: Mapped[datetime]
    """When it joined."""


class User(Base):
    """A person who signs in for an organization."""

    __tablename__ = "users"
    __table_args__ = (enum_check("role", Role),)

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("organizations.id"))
    """Where they work; a user belongs to one organization."""
    email: Mapped[str] = mapped_column(unique=True)
    """What they sign in with, in lower case."""
    password_hash: Mapped[str]
    """Argon2id, with its parameters and salt."""
    role: Mapped[str]
    """One of `Role`."""
    created_at: Mapped[datetime]
    """When the user was made."""


class Wallet(Base):
    """One organization's money in one mode. Every business row names its wallet."""

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
    """Whose money it is."""
    mode: Mapped[str]
    """One of `Mode`; decides which of the provider's keys is used."""
    currency: Mapped[str] = mapped_column(server_default="USD")
    """ISO 4217 code of every amount in the wallet."""
    duplicate_loads: Mapped[str] = mapped_column(server_default="warn")
    """One of `DuplicateLoads`."""
    low_balance_cents: Mapped[int | None]
    """The customer is told when the available balance falls below it; null: never."""
    departed_at: Mapped[datetime | None]
    """When its standard payouts last left for the provider together, while the provider's limit makes them wait."""
    created_at: Mapped[datetime]
    """When it was opened."""
    retired_at: Mapped[datetime | None]
    """When a sandbox reset put another wallet in its place: what was under way ends in it, and nobody sees it."""


class ApiKey(Base):
    """A credential of a wallet. The key itself is shown once and never stored."""

    __tablename__ = "api_keys"
    __table_args__ = (
        enum_check("approval_status", ApprovalStatus),
        sa.Index("ix_api_keys_created_by_id", "created_by", sa.text("id DESC")),
    )

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("wallets.id"), index=True)
    """The only wallet that this key can see."""
    name: Mapped[str]
    """What its owner calls it."""
    prefix: Mapped[str]
    """`ovnp_sbox_` or `ovnp_prod_`: all of the key that is ever listed."""
    key_hash: Mapped[bytes | None] = mapped_column(unique=True)
    """HMAC-SHA256 of the key under the installation's pepper; null until the key exists."""
    key_pepper: Mapped[bytes | None]
    """Which pepper that was; null: the one that there was when nobody noted it. While it is rotated `key_hash` is made
    anew when the key is used."""
    scopes: Mapped[list[str]]
    """What it may do, as in `payouts:write`."""
    created_by: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id"))
    """The user who asked for it."""
    approval_status: Mapped[str]
    """One of `ApprovalStatus`; sandbox keys are approved from the start."""
    approval_reason: Mapped[str | None]
    """Why a production key is wanted, in its owner's words."""
    decided_by: Mapped[uuid.UUID | None] = mapped_column(sa.ForeignKey("users.id"))
    """The admin who approved or rejected a production key."""
    decided_at: Mapped[datetime | None]
    """When."""
    rejection_reason: Mapped[str | None]
    """Why it was rejected, in the admin's words."""
    created_at: Mapped[datetime]
    """When it was asked for."""
    expires_at: Mapped[datetime | None]
    """From when on it is refused; null: never."""
    last_used_at: Mapped[datetime | None]
    """When it was last used, to the minute."""
    rate_limit_per_minute: Mapped[int | None] = mapped_column(sa.Integer)
    """How many requests a minute it may send; null: as many as the installation allows."""
    previous_key_hash: Mapped[bytes | None] = mapped_column(unique=True)
    """Of the key that this one has replaced, while both work."""
    previous_valid_until: Mapped[datetime | None]
    """Until when the replaced one works."""
    revoked_at: Mapped[datetime | None]
    """When it was withdrawn; a revoked key never comes back."""


class Session(Base):
    """A user's sign-in. The token itself is shown once and never stored."""

    __tablename__ = "sessions"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    user_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("users.id"), index=True)
    token_hash: Mapped[bytes] = mapped_column(unique=True)
    """HMAC-SHA256 of the token under the installation's pepper."""
    created_at: Mapped[datetime]
    """When the user signed in."""
    last_seen_at: Mapped[datetime]
    """When the token was last used, to the minute; a session that is idle too long is over."""
    expires_at: Mapped[datetime]
    """When it is over in any case."""
    revoked_at: Mapped[datetime | None]
    """When the user signed out."""
