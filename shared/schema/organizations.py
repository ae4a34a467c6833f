"""Enums of organizations, their wallets, users, API keys and drivers."""

import enum


class Mode(enum.StrEnum):
    """An organization's two environments; they share no data."""

    SANDBOX = "sandbox"
    """Test money; uses Paystream's test mode."""

    PRODUCTION = "production"
    """Real money; uses Paystream's live mode."""


class Role(enum.StrEnum):
    OWNER = "owner"
    ADMIN = "admin"
    DEVELOPER = "developer"
    VIEWER = "viewer"


class DuplicateLoads(enum.StrEnum):
    """A wallet's policy for a second payout for the same driver and load."""

    WARN = "warn"
    """Accept it, with a warning in the response."""

    REFUSE = "refuse"
    """409, unless the request allows the duplicate and gives a reason."""


class ApprovalStatus(enum.StrEnum):
    PENDING = "pending"
    """A production key that waits for an admin; the key itself does not exist yet."""

    APPROVED = "approved"
    REJECTED = "rejected"


class DriverStatus(enum.StrEnum):
    """invited → pending → active; inactive by update or delete."""

    INVITED = "invited"
    """Registered here; not yet sent to the provider."""

    PENDING = "pending"
    """A recipient at the provider, not verified yet."""

    ACTIVE = "active"
    """Verified by the provider; can be paid."""

    INACTIVE = "inactive"
    """Deactivated by the customer; can't be paid."""


class KycStatus(enum.StrEnum):
    """The provider's identity check."""

    PENDING = "pending"
    VERIFIED = "verified"
    REJECTED = "rejected"
