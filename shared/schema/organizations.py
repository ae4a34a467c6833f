"""Modes, roles, and what an organization decides for itself."""

import enum


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


class DuplicateLoads(enum.StrEnum):
    """What a wallet does with a payout whose driver and load have a live one already."""

    WARN = "warn"
    """It is made, and the answer warns."""

    REFUSE = "refuse"
    """409, unless the request allows it and says why."""


class ApprovalStatus(enum.StrEnum):
    """How far an API key has come."""

    PENDING = "pending"
    """A production key that waits for an admin; the key itself does not exist yet."""

    APPROVED = "approved"
    REJECTED = "rejected"
