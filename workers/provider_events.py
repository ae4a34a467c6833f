"""The actor that applies the provider's webhooks."""

import time
import uuid
from collections import Counter as Counts
from datetime import timedelta
from functools import partial

import structlog
from prometheus_client import Counter, Histogram
from psycopg.errors import DeadlockDetected, LockNotAvailable
from sqlalchemy.exc import OperationalError

from shared import inbox
from shared.payouts.payment_updates import UpdateStatus
from shared.platform import logs, task_queue
from shared.platform.failpoints import failpoint
from shared.platform.ids import PAYOUT, public_id
from workers.coalescing_queue import IdGroup
from workers.context import Context

logger = structlog.get_logger(__name__)

UNPLACED = "unplaced"
"""The result of an orphan that is given up."""

EVENTS = Counter(
    "ovnpay_provider_events_total",
    "Webhooks that workers looked at, by what became of them; an orphan counts each time.",
    ["result"],
)
for result in (*UpdateStatus, UNPLACED):
    EVENTS.labels(result)
AGE_SECONDS = Histogram(
    "ovnpay_provider_event_age_seconds",
    "From a webhook's receipt until it was handled for good.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86400),
)

LOCK_TIMEOUT = timedelta(milliseconds=500)
"""How long a group waits for one lock; behind some others' groups, but not behind a batch of thousands."""

PATIENCE_SECONDS = 30.0
"""How long what waits for a lock is tried again before it is left to the tick."""


def apply_provider_events(context: Context, event_ids: list[uuid.UUID]) -> None:
    """Processing → completed | failed, and completed → returned, by the provider's word. One thread of a process
    applies; the others leave word with it, and are done.
    """
    context.notices.work(event_ids, partial(_apply_free, context), inbox.EVENTS_PER_TRANSACTION_MAX)


def _apply_free(context: Context, group: IdGroup) -> None:
    """Applies a group. Those that wait for what somebody else holds for long, as a large batch's release holds a
    wallet, go to the end of the line: the others don't wait for it.
    """
    try:
        _apply(context, list(group))
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable | DeadlockDetected):
            raise
        with context.engine.begin() as connection:
            held = inbox.events_of_locked_wallets(connection, list(group)) or set(group)
        patient_since = time.monotonic() - PATIENCE_SECONDS
        again = {one: since for one, since in group.items() if one in held and since > patient_since}
        context.notices.put_back(again)
        if len(held) > len(again):
            logger.warning("provider_events.left_to_the_tick", count=len(held) - len(again), why="a lock is held")
        free = {one: since for one, since in group.items() if one not in held}
        if free:
            _apply_free(context, free)


def _apply(context: Context, event_ids: list[uuid.UUID]) -> None:
    with context.engine.begin() as connection:
        handled = inbox.apply_events(connection, event_ids, context.clock.now(), lock_timeout=LOCK_TIMEOUT)
        failpoint("apply.before_commit")
    now = context.clock.now()
    given_up = [one for one in handled if one.status is UpdateStatus.ORPHAN and one.due is None]
    counts = Counts(one.status.value for one in handled)
    counts.update({UpdateStatus.ORPHAN.value: -len(given_up), UNPLACED: len(given_up)})
    for result, count in counts.items():
        EVENTS.labels(result).inc(count)
    if handled:
        told = [
            {
                "event": one.event_id.hex,
                "payout": one.payout_id and public_id(PAYOUT, one.payout_id),
                "result": one.status,
            }
            for one in handled[: logs.LOGGED_IDS_MAX]
        ]
        logger.info("provider_events.applied", events=told, count=len(handled))
    for one in handled:
        if one.due is None:
            AGE_SECONDS.observe((now - one.received_at).total_seconds())


ACTORS = {task_queue.APPLY_PROVIDER_EVENTS: apply_provider_events}
