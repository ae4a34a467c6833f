"""Who uses the system: organizations, their users, their wallets (one a mode) and the keys to them."""

import enum
import uuid
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from shared.models.base import Base, one_of


class Mode(enum.StrEnum):
    """Which of an organization's two worlds: they share code and nothing else."""

    SANDBOX = "sandbox"
    """Play money; talks to Paystream's test mode."""

    PRODUCTION = "production"
    """Real money; talks to Paystream's live mode."""


class Role(enum.StrEnum):
    """What a user may do."""

    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"


class Organization(Base):
    """A carrier: the customer of OVN Pay."""

    __tablename__ = "organizations"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    name: Mapped[str]
    """Its name, for people."""
    created_at: Mapped[datetime]
    """When it joined."""


class User(Base):
    """A person who signs in for an organization."""

    __tablename__ = "users"
    __table_args__ = (one_of("role", Role),)

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
    __table_args__ = (sa.UniqueConstraint("organization_id", "mode"), one_of("mode", Mode))

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    organization_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("organizations.id"))
    """Whose money it is."""
    mode: Mapped[str]
    """One of `Mode`; decides which of the provider's keys is used."""
    currency: Mapped[str] = mapped_column(server_default="USD")
    """ISO 4217 code of every amount in the wallet."""
    created_at: Mapped[datetime]
    """When it was opened."""


class ApiKey(Base):
    """A credential of a wallet. The key itself is shown once and never stored."""

    __tablename__ = "api_keys"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    wallet_id: Mapped[uuid.UUID] = mapped_column(sa.ForeignKey("wallets.id"), index=True)
    """The only wallet that this key can see."""
    name: Mapped[str]
    """What its owner calls it."""
    prefix: Mapped[str]
    """`ovnp_sbox_` or `ovnp_prod_`: all of the key that is ever listed."""
    key_hash: Mapped[bytes | None] = mapped_column(unique=True)
    """HMAC-SHA256 of the key under the installation's pepper; null until the key exists."""
    scopes: Mapped[list[str]]
    """What it may do, as in `payouts:write`."""
    created_at: Mapped[datetime]
    """When it was made."""
    expires_at: Mapped[datetime | None]
    """From when on it is refused; null: never."""
    revoked_at: Mapped[datetime | None]
    """When it was withdrawn; a revoked key never comes back."""
