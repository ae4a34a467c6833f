"""A wallet's accounts, and how money moves between them."""

import enum


class AccountKind(enum.StrEnum):
    """The five accounts of a wallet. Their balances sum to zero."""

    AVAILABLE = "available"
    """What can be spent now."""

    IN_TRANSIT = "in_transit"
    """Reserved for payouts that have not ended."""

    PENDING_FUNDING = "pending_funding"
    """Topped up, not confirmed by the provider yet."""

    FEES = "fees"
    """What we earned on completed payouts."""

    EXTERNAL = "external"
    """The outside world; the only one that may be negative."""


class TransferKind(enum.StrEnum):
    """Why money moved."""

    RESERVE = "reserve"
    """available → in_transit: a payout was accepted, released with its batch, or retried."""

    SETTLE = "settle"
    """in_transit → external: the net amount reached the driver."""

    FEE = "fee"
    """in_transit → fees: ours, once the driver is paid."""

    RELEASE = "release"
    """in_transit → available: the payout failed or was canceled."""

    RETURN = "return"
    """external → available: the driver's bank sent the net amount back."""

    TOPUP = "topup"
    """external → pending_funding: a top-up was asked for."""

    TOPUP_SETTLE = "topup_settle"
    """pending_funding → available: the provider confirmed it."""

    TOPUP_FAIL = "topup_fail"
    """pending_funding → external: the provider refused it."""


class TopupStatus(enum.StrEnum):
    """A top-up's life."""

    PENDING = "pending"
    SETTLED = "settled"
    FAILED = "failed"
