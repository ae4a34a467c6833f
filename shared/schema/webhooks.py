"""A customer's endpoint, and a delivery to it."""

import enum


class EndpointStatus(enum.StrEnum):
    """Whether an endpoint is called."""

    ACTIVE = "active"
    PAUSED = "paused"
    """It is not called; its events wait for it."""

    DISABLED = "disabled"
    """It is not called, and nothing is kept for it."""


class PausedReason(enum.StrEnum):
    """Why an endpoint is paused."""

    CUSTOMER = "customer"
    """Its owner wants it so."""

    GONE = "gone"
    """It has answered 410."""

    FAILING = "failing"
    """It has failed for five days, and not succeeded once."""


class Pace(enum.StrEnum):
    """How an endpoint has answered last, and so in which lane it is called; see `shared.events.pace_limits`."""

    QUICK = "quick"
    """With success, within a second."""

    SLOW = "slow"
    """With success, but later; or it was never called."""

    FAILING = "failing"
    """Not, or not with success."""


class DeliveryStatus(enum.StrEnum):
    """How far an event has come on its way to an endpoint."""

    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"
    """After the last attempt; only a redelivery that somebody asks for makes another."""
