"""Enums of provider events, webhook endpoints and deliveries."""

import enum


class ProviderEventStatus(enum.StrEnum):
    """Processing of a provider event."""

    RECEIVED = "received"
    """Signature verified, stored, not processed yet."""

    APPLIED = "applied"
    """It changed a payout."""

    IGNORED = "ignored"
    """Understood, nothing to change: a repeat, an older state or an informational event."""

    ORPHAN = "orphan"
    """Names an unknown payment: the event can arrive before the response to our own request. Retried for a day, then
    given up.
    """

    MISMATCH = "mismatch"
    """Contradicts our record; no money moved, an operator has to look at it."""


class EndpointStatus(enum.StrEnum):
    ACTIVE = "active"
    PAUSED = "paused"
    """Not called; its deliveries wait."""

    DISABLED = "disabled"
    """Not called, and no deliveries are written for it."""


class PausedReason(enum.StrEnum):
    """Why an endpoint is paused."""

    CUSTOMER = "customer"
    """Its owner paused it."""

    GONE = "gone"
    """It answered 410."""

    FAILING = "failing"
    """It failed for `shared.events.retry_schedule.PAUSE_AFTER` without a single success."""


class Pace(enum.StrEnum):
    """How an endpoint answered last; see `shared.events.pace_limits`."""

    QUICK = "quick"
    """Success within a second."""

    SLOW = "slow"
    """Success after more than a second, or never called."""

    FAILING = "failing"
    """No success."""


class DeliveryStatus(enum.StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """The last attempt failed; only a requested redelivery starts new ones."""
