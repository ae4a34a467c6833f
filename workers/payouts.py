"""Actors that queue, submit and poll payouts."""

import uuid
from collections.abc import Collection, Sequence
from functools import partial
from typing import NamedTuple

import sqlalchemy as sa
import structlog

from shared.payouts import dispatch, poll, submissions
from shared.payouts.queue import queue_validated_payouts
from shared.payouts.rows import PayoutRow
from shared.payouts.submission_leases import LeasedSubmission, claim_submissions
from shared.platform import logs, task_queue
from shared.platform.failpoints import failpoint
from shared.platform.ids import PAYOUT, SUBMISSION, public_id
from shared.schema.payouts import Rail
from workers.context import Context
from workers.submissions import claim_after_identity_check, send_leased

logger = structlog.get_logger(__name__)


def queue_payouts(context: Context, payout_ids: list[uuid.UUID]) -> None:
    """Validated → queued."""
    with context.engine.begin() as connection:
        done = queue_validated_payouts(connection, payout_ids, context.clock.now(), grace=context.grace)
        failpoint("queue.before_commit")
    failpoint("queue.after_commit")
    context.task_sender.enqueue(task_queue.SUBMIT_PAYOUTS, [row.id for row in done.queued.rows])
    for step, rows in (("payouts.queued", done.queued.rows), ("payouts.canceled", done.canceled.rows)):
        if rows:
            logger.info(step, payouts=logs.public_ids(PAYOUT, (row.id for row in rows)), count=len(rows))


def submit_payouts(context: Context, payout_ids: list[uuid.UUID]) -> None:
    """Queued → processing, and on to the provider.

    Payouts that share a provider call are dispatched with other queued payouts of their wallets, by one thread of a
    process: several would search the same payouts, and flood the provider with batches ahead of an instant payout.
    """
    with context.engine.connect() as connection:
        single, batched = dispatch.split_by_batching(connection, payout_ids)
    if single:
        _submit(context, single)
    context.dispatch_queue.process(batched, partial(_submit, context), dispatch.DISPATCHED_PAYOUTS_MAX)


class _Submitted(NamedTuple):
    """What one transaction wrote and leased."""

    rows: Sequence[PayoutRow]
    leased: Sequence[LeasedSubmission]
    wanted_ids: Sequence[uuid.UUID]
    """Submissions that this worker tried to lease."""
    instant_ids: Sequence[uuid.UUID]
    other_ids: Sequence[uuid.UUID]
    """Submissions for other messages, beyond what this worker can call within a lease."""


def _submit(context: Context, payout_ids: Collection[uuid.UUID]) -> None:
    """Write submissions, commit, then call the provider."""
    with context.engine.begin() as connection:
        submitted = _write_and_lease(context, connection, payout_ids)
        failpoint("submit.before_commit")
    failpoint("submit.after_commit")
    context.task_sender.enqueue(task_queue.SEND_INSTANT_SUBMISSIONS, submitted.instant_ids)
    context.task_sender.enqueue(task_queue.SEND_SUBMISSIONS, submitted.other_ids)
    if submitted.rows:
        shown = _public_ids_by_submission(submitted.rows)
        logger.info("payouts.submitted", submissions=shown, count=len(submitted.rows))
    send_leased(context, submitted.leased or claim_after_identity_check(context, submitted.wanted_ids))


def _write_and_lease(context: Context, connection: sa.Connection, payout_ids: Collection[uuid.UUID]) -> _Submitted:
    """Write the submissions, and lease as many as this worker can send."""
    budget = context.paystream.budget
    selected = dispatch.select_for_dispatch(
        connection, list(payout_ids), lambda mode: budget.pace_seconds(connection, mode)
    )
    prepared = submissions.prepare_submissions(
        connection, selected, context.clock.now(), reason="submitted", poll_after=context.poll_after
    )
    instant = {row.submission_id for row in prepared.rows if row.rail == Rail.INSTANT}
    mine, others = context.split_by_lease([one for one in prepared.submission_ids if one not in instant])
    leased = claim_submissions(connection, mine, lease_seconds=context.settings.lease_seconds)
    return _Submitted(prepared.rows, leased, mine, [one for one in prepared.submission_ids if one in instant], others)


def _public_ids_by_submission(rows: Sequence[PayoutRow]) -> dict[str, list[str]]:
    shown: dict[str, list[str]] = {}
    for row in rows[: logs.LOGGED_IDS_MAX]:
        if row.submission_id is not None:
            shown.setdefault(public_id(SUBMISSION, row.submission_id), []).append(public_id(PAYOUT, row.id))
    return shown


def poll_payouts(context: Context, payout_ids: list[uuid.UUID]) -> None:
    """Poll the provider for payouts whose webhook never came."""
    mine, others = context.split_by_lease(payout_ids)
    context.task_sender.enqueue(task_queue.POLL_PAYOUTS, others)
    failpoint("poll.after_passing_on")
    first_seconds = context.settings.poll_after_instant_seconds
    with context.engine.begin() as connection:
        polls = poll.start_polls(connection, mine, context.clock.now(), first_seconds=first_seconds)
    failpoint("poll.before_call")
    outcomes = context.paystream.call_all([one.call() for one in polls])
    failpoint("poll.after_call")
    with context.engine.begin() as connection:
        poll.apply_poll_outcomes(connection, polls, outcomes, context.clock.now())


ACTORS = {
    task_queue.QUEUE_PAYOUTS: queue_payouts,
    task_queue.SUBMIT_PAYOUTS: submit_payouts,
    task_queue.POLL_PAYOUTS: poll_payouts,
}
