"""The actor that applies provider events."""

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
"""The result of an orphan whose payout was never found."""

EVENTS = Counter(
    "ovnpay_provider_events_total",
    "Provider events that workers processed, by result; an orphan counts each time.",
    ["result"],
)
for result in (*UpdateStatus, UNPLACED):
    EVENTS.labels(result)
AGE_SECONDS = Histogram(
    "ovnpay_provider_event_age_seconds",
    "From a provider event's receipt until its final processing.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600, 86400),
)

LOCK_TIMEOUT = timedelta(milliseconds=500)
"""How long a group waits for one lock: enough for other groups, not for the release of a batch of thousands."""

RETRY_LOCKED_SECONDS = 30.0
"""How long events of a locked wallet are retried before they are left to the tick."""


def apply_provider_events(context: Context, event_ids: list[uuid.UUID]) -> None:
    """Processing → completed | failed, and completed → returned, as the provider reports.

    One thread of a process applies events; the others add theirs and return.
    """
    context.provider_events_queue.process(
        event_ids, partial(_apply_unlocked, context), inbox.EVENTS_PER_TRANSACTION_MAX
    )


def _apply_unlocked(context: Context, group: IdGroup) -> None:
    """Apply a group. Events of wallets that another transaction has locked for long, such as the release of a large
    batch, are requeued behind the others.
    """
    try:
        _apply(context, list(group))
    except OperationalError as error:
        if not isinstance(error.orig, LockNotAvailable | DeadlockDetected):
            raise
        with context.engine.begin() as connection:
            locked = inbox.events_of_locked_wallets(connection, list(group)) or set(group)
        earliest = time.monotonic() - RETRY_LOCKED_SECONDS
        again = {one: since for one, since in group.items() if one in locked and since > earliest}
        context.provider_events_queue.requeue(again)
        if len(locked) > len(again):
            logger.warning("provider_events.left_to_the_tick", count=len(locked) - len(again), why="a wallet is locked")
        free = {one: since for one, since in group.items() if one not in locked}
        if free:
            _apply_unlocked(context, free)


def _apply(context: Context, event_ids: list[uuid.UUID]) -> None:
    with context.engine.begin() as connection:
        applied = inbox.apply_events(connection, event_ids, context.clock.now(), lock_timeout=LOCK_TIMEOUT)
        failpoint("apply.before_commit")
    now = context.clock.now()
    unplaced = [one for one in applied if one.status is UpdateStatus.ORPHAN and one.due is None]
    counts = Counts(one.status.value for one in applied)
    counts.update({UpdateStatus.ORPHAN.value: -len(unplaced), UNPLACED: len(unplaced)})
    for result, count in counts.items():
        EVENTS.labels(result).inc(count)
    if applied:
        shown = [
            {
                "event": one.event_id.hex,
                "payout": one.payout_id and public_id(PAYOUT, one.payout_id),
                "result": one.status,
            }
            for one in applied[: logs.LOGGED_IDS_MAX]
        ]
        logger.info("provider_events.applied", events=shown, count=len(applied))
    for one in applied:
        if one.due is None:
            AGE_SECONDS.observe((now - one.received_at).total_seconds())


ACTORS = {task_queue.APPLY_PROVIDER_EVENTS: apply_provider_events}
