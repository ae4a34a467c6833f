"""Scenarios: what a sandbox request asks us to play (reference: Sandbox Scenarios; the last four are ours)."""

import enum
from typing import Final


class Scenario(enum.StrEnum):
    """A word of the header `X-Sandbox-Scenario`."""

    SUCCESS = "success"
    """Nothing special."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    """The wallet counts as empty: 400."""

    PAYOUT_FAILED = "payout_failed"
    """The payout is accepted and fails at the provider."""

    KYC_PENDING = "kyc_pending"
    """The driver counts as not verified: 422 where he is to be paid."""

    RATE_LIMITED = "rate_limited"
    """429."""

    SLOW_RESPONSE = "slow_response"
    """The answer comes 2 seconds later."""

    PROVIDER_TIMEOUT = "provider_timeout"
    """The provider takes the payment and does not answer; it is asked again under the same key, and pays once."""

    RETURNED = "returned"
    """The payout completes, then the driver's bank sends it back."""

    DUPLICATE_WEBHOOK = "duplicate_webhook"
    """The provider sends each of its webhooks twice."""

    LATE_WEBHOOK = "late_webhook"
    """The provider's webhooks come late."""

    @property
    def is_simulated_by_provider(self) -> bool:
        """Whether the payout is accepted like any other, and the provider's test mode plays the rest."""
        return self in SIMULATED_SCENARIOS


SIMULATED_SCENARIOS: Final = {
    Scenario.PAYOUT_FAILED: "fail:BANK_REJECTED",
    Scenario.PROVIDER_TIMEOUT: "timeout_after_accept",
    Scenario.RETURNED: "return:ACCOUNT_CLOSED",
    Scenario.DUPLICATE_WEBHOOK: "duplicate_webhook",
    Scenario.LATE_WEBHOOK: "late_webhook:3",
}
"""What a payment's `metadata.simulate` asks of the provider's test mode."""
