"""What is noted of webhooks that are not verified: a figure for each, a line in the log for few.

They belong to no wallet, so no customer sees them; and whoever sends them must not be able to fill our disks.
"""

import time
from typing import Final

import structlog
from prometheus_client import Counter

from shared.provider.signature import InvalidSignature, SignatureFlaw

logger = structlog.get_logger(__name__)

REFUSED = Counter("ovnpay_provider_webhooks_refused_total", "Webhooks whose signature was not right.", ["flaw"])
for flaw in SignatureFlaw:
    REFUSED.labels(flaw)

LOG_INTERVAL_SECONDS: Final = 1.0


class RejectedWebhooks:
    """Notes them for one gateway process."""

    def __init__(self) -> None:
        self._unsaid = 0
        self._next_line_at = 0.0

    def note(self, error: InvalidSignature, address: str | None) -> None:
        """Counts one. At most one line a second is logged; it says how many went without one since the last."""
        REFUSED.labels(error.flaw).inc()
        now = time.monotonic()
        if now < self._next_line_at:
            self._unsaid += 1
            return
        logger.warning("provider_webhook.refused", why=str(error), address=address, others=self._unsaid)
        self._unsaid, self._next_line_at = 0, now + LOG_INTERVAL_SECONDS
