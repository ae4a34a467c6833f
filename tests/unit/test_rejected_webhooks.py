"""Webhooks with an invalid signature are all counted, and few are logged."""

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.intake.provider_webhooks import RejectedWebhooks
from shared.provider.signature import InvalidSignature, SignatureFlaw


def test_flood_is_logged_once_per_second_with_the_number_of_unlogged_webhooks() -> None:
    rejected = RejectedWebhooks()
    labels = {"flaw": SignatureFlaw.WRONG.value}
    before = REGISTRY.get_sample_value("ovnpay_provider_webhooks_refused_total", labels) or 0
    with capture_logs() as lines:
        for _ in range(1_000):
            rejected.record(InvalidSignature(SignatureFlaw.WRONG, "The signature does not match the body"), "192.0.2.7")
        rejected._next_log_at = 0.0  # a second later
        rejected.record(InvalidSignature(SignatureFlaw.WRONG, "The signature does not match the body"), "192.0.2.7")
    assert [line["others"] for line in lines] == [0, 999]
    assert (REGISTRY.get_sample_value("ovnpay_provider_webhooks_refused_total", labels) or 0) - before == 1_001
