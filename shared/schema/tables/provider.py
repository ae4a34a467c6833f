"""What we have asked of the provider lately: its limits hold for all of our processes together."""

from datetime import datetime

from sqlalchemy.orm import Mapped, mapped_column

from shared.schema.tables.base import Base


class ProviderLimit(Base):
    """One limit of the provider's, see `shared.provider.call_budget`; locked by whoever is about to call."""

    __tablename__ = "provider_limits"

    name: Mapped[str] = mapped_column(primary_key=True)
    """The wallets' mode, whose key is limited, and what the limit is on."""
    paused_until: Mapped[datetime | None]
    """The provider has asked us to leave it alone until then."""


class ProviderCalls(Base):
    """How many calls were made under a limit in one part of its window. Forgotten once that has passed."""

    __tablename__ = "provider_calls"

    name: Mapped[str] = mapped_column(primary_key=True)
    """The limit's."""
    began_at: Mapped[datetime] = mapped_column(primary_key=True)
    """When this part of the window began, by the database's clock."""
    calls: Mapped[int]
    """How many calls were made in it."""
