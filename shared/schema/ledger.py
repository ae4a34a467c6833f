"""Enums of the ledger, top-ups and analytics."""

import enum


class AccountKind(enum.StrEnum):
    """The five accounts of a wallet. Their balances sum to zero."""

    AVAILABLE = "available"
    """Can be spent now."""

    IN_TRANSIT = "in_transit"
    """Reserved for payouts that have not ended."""

    PENDING_FUNDING = "pending_funding"
    """Topped up, not confirmed by the provider yet."""

    FEES = "fees"
    """Fees earned on completed payouts."""

    EXTERNAL = "external"
    """Counterpart outside the system; the only account that may be negative."""


class TransferKind(enum.StrEnum):
    """Why money moved."""

    RESERVE = "reserve"
    """available → in_transit: a payout was accepted, released with its batch, or retried."""

    SETTLE = "settle"
    """in_transit → external: the net amount reached the driver."""

    FEE = "fee"
    """in_transit → fees: earned once the driver is paid."""

    RELEASE = "release"
    """in_transit → available: the payout failed or was canceled."""

    RETURN = "return"
    """external → available: the driver's bank sent the net amount back."""

    TOPUP = "topup"
    """external → pending_funding: a top-up was requested."""

    TOPUP_SETTLE = "topup_settle"
    """pending_funding → available: the provider confirmed it."""

    TOPUP_FAIL = "topup_fail"
    """pending_funding → external: the provider refused it."""


class TopupStatus(enum.StrEnum):
    PENDING = "pending"
    SETTLED = "settled"
    FAILED = "failed"


class Grain(enum.StrEnum):
    """Length of the period that a row of the analytics tables covers."""

    QUARTER = "quarter"
    """15 minutes: every time zone's offset from UTC is a multiple of it."""

    DAY = "day"
    """A day in the organization's time zone; 23 or 25 hours twice a year."""

    WEEK = "week"
    """Starts on Monday."""

    MONTH = "month"
    YEAR = "year"
