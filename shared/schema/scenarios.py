"""Sandbox scenarios (API reference: Sandbox Scenarios; the last four are additions)."""

import enum
from typing import Final


class Scenario(enum.StrEnum):
    """Value of the header `X-Sandbox-Scenario`."""

    SUCCESS = "success"
    """Default behavior."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    """The wallet is treated as empty: 400."""

    PAYOUT_FAILED = "payout_failed"
    """The payout is accepted and fails at the provider."""

    KYC_PENDING = "kyc_pending"
    """The driver is treated as not verified: paying them answers 422."""

    RATE_LIMITED = "rate_limited"
    """429."""

    SLOW_RESPONSE = "slow_response"
    """The response is delayed by 2 seconds."""

    PROVIDER_TIMEOUT = "provider_timeout"
    """The provider accepts the payment without answering; the request is repeated under the same key and pays once."""

    RETURNED = "returned"
    """The payout completes, then the driver's bank sends it back."""

    DUPLICATE_WEBHOOK = "duplicate_webhook"
    """The provider sends each of its webhooks twice."""

    LATE_WEBHOOK = "late_webhook"
    """The provider's webhooks arrive late."""

    @property
    def is_simulated_by_provider(self) -> bool:
        """Whether the provider's test mode simulates the scenario."""
        return self in SIMULATED_SCENARIOS


SIMULATED_SCENARIOS: Final = {
    Scenario.PAYOUT_FAILED: "fail:BANK_REJECTED",
    Scenario.PROVIDER_TIMEOUT: "timeout_after_accept",
    Scenario.RETURNED: "return:ACCOUNT_CLOSED",
    Scenario.DUPLICATE_WEBHOOK: "duplicate_webhook",
    Scenario.LATE_WEBHOOK: "late_webhook:3",
}
"""Value of a payment's `metadata.simulate`, by scenario."""
