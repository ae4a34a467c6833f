"""The actor that applies the provider's webhooks."""

import uuid
from collections import Counter as Counts

import structlog
from prometheus_client import Counter, Histogram

from shared import broker, log, provider_events
from shared.crash_points import crash_point
from shared.ids import PAYOUT, show
from shared.payouts.settle import Verdict
from workers.context import Context

logger = structlog.get_logger(__name__)

UNPLACED = "unplaced"
"""The result of an orphan that is given up."""

EVENTS = Counter(
    "ovnpay_provider_events_total",
    "Webhooks that workers looked at, by what became of them; an orphan counts each time.",
    ["result"],
)
for result in (*Verdict, UNPLACED):
    EVENTS.labels(result)
AGE_SECONDS = Histogram(
    "ovnpay_provider_event_age_seconds",
    "From a webhook's receipt until it was handled for good.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86400),
)


def apply_provider_events(context: Context, event_ids: list[uuid.UUID]) -> None:
    """processing → completed | failed, and completed → returned, by the provider's word."""
    with context.engine.begin() as connection:
        waiting = provider_events.gather(connection, event_ids)
        handled = provider_events.apply(connection, waiting, context.clock.now())
        crash_point("apply.before_commit")
    now = context.clock.now()
    given_up = [one for one in handled if one.verdict is Verdict.ORPHAN and one.due is None]
    counts = Counts(one.verdict.value for one in handled)
    counts.update({Verdict.ORPHAN.value: -len(given_up), UNPLACED: len(given_up)})
    for result, count in counts.items():
        EVENTS.labels(result).inc(count)
    if handled:
        told = [
            {"event": one.event_id.hex, "payout": one.payout_id and show(PAYOUT, one.payout_id), "result": one.verdict}
            for one in handled[: log.IDS_MOST]
        ]
        logger.info("provider_events.applied", events=told, count=len(handled))
    for one in handled:
        if one.due is None:
            AGE_SECONDS.observe((now - one.received_at).total_seconds())


ACTORS = {broker.APPLY_PROVIDER_EVENTS: apply_provider_events}
