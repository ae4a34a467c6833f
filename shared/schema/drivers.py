"""A driver's life, and how far the provider has come in knowing him."""

import enum


class DriverStatus(enum.StrEnum):
    """A driver's way in: invited → pending → active; inactive by update or delete."""

    INVITED = "invited"
    """Registered with us; the provider has not been told yet."""

    PENDING = "pending"
    """A recipient at the provider, not verified yet."""

    ACTIVE = "active"
    """Verified by the provider; can be paid."""

    INACTIVE = "inactive"
    """Switched off by the customer; can't be paid."""


class KycStatus(enum.StrEnum):
    """Whether the provider knows who this is; set by the provider's word alone."""

    PENDING = "pending"
    VERIFIED = "verified"
    REJECTED = "rejected"
