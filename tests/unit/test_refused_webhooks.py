"""Refused webhooks: each is counted, few have a line in the log."""

from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from gateway.intake.rejected_webhooks import RejectedWebhooks
from shared.provider.signature import InvalidSignature, SignatureFlaw


def test_a_flood_has_a_line_a_second_that_says_how_many_have_none() -> None:
    """Or whoever sends it could fill our disks."""
    refused = RejectedWebhooks()
    labels = {"flaw": SignatureFlaw.WRONG.value}
    before = REGISTRY.get_sample_value("ovnpay_provider_webhooks_refused_total", labels) or 0
    with capture_logs() as lines:
        for _ in range(1_000):
            refused.note(InvalidSignature(SignatureFlaw.WRONG, "The signature does not match the body"), "192.0.2.7")
        refused._next_line_at = 0.0  # a second later
        refused.note(InvalidSignature(SignatureFlaw.WRONG, "The signature does not match the body"), "192.0.2.7")
    assert [line["others"] for line in lines] == [0, 999]
    assert (REGISTRY.get_sample_value("ovnpay_provider_webhooks_refused_total", labels) or 0) - before == 1_001
