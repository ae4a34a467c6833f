"""Actors for payouts: queue, submit, poll."""

import uuid
from collections.abc import Collection, Sequence
from functools import partial

import structlog

from shared.payouts import dispatch, poll, submissions
from shared.payouts.queue import queue_validated_payouts
from shared.payouts.rows import PayoutRow
from shared.payouts.submission_leases import claim_submissions
from shared.platform import logs, safeguards, task_queue
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
    """Queued → processing, and on to the provider. Those that share a call leave with what else of their wallets waits;
    one thread of a process sees to that, for those too that the others were told of: beside each other they would all
    look through the same payouts, and flood the provider with batches that an instant payout would wait behind.
    """
    with context.engine.connect() as connection:
        alone, sharing = dispatch.split_by_batching(connection, payout_ids)
    if alone:
        _submit(context, alone)
    context.departures.work(sharing, partial(_submit, context), dispatch.DISPATCHED_PAYOUTS_MAX)


def _submit(context: Context, payout_ids: Collection[uuid.UUID]) -> None:
    """The submissions are committed, and held by us, before any call."""
    budget = context.paystream.budget
    with context.engine.begin() as connection:
        leaving = dispatch.select_for_dispatch(
            connection, list(payout_ids), lambda mode: budget.pace_seconds(connection, mode)
        )
        prepared = submissions.prepare_submissions(
            connection, leaving, context.clock.now(), reason="submitted", poll_after=context.poll_after
        )
        instant = {row.submission_id for row in prepared.rows if row.rail == Rail.INSTANT}
        mine, others = context.split_by_lease([one for one in prepared.submission_ids if one not in instant])
        held = claim_submissions(connection, mine, lease_seconds=context.settings.lease_seconds)
        if not safeguards.is_on(safeguards.WRITE_AHEAD):
            context.paystream.call_all([one.call() for one in held])  # the same again below, as a repeat
        failpoint("submit.before_commit")
    failpoint("submit.after_commit")
    context.task_sender.enqueue(
        task_queue.SEND_INSTANT_SUBMISSIONS, [one for one in prepared.submission_ids if one in instant]
    )
    context.task_sender.enqueue(task_queue.SEND_SUBMISSIONS, others)
    if prepared.rows:
        logger.info("payouts.submitted", submissions=_by_submission(prepared.rows), count=len(prepared.rows))
    send_leased(context, held or claim_after_identity_check(context, mine))


def _by_submission(rows: Sequence[PayoutRow]) -> dict[str, list[str]]:
    """Which payouts travel in which submission, as a line shows it."""
    shown: dict[str, list[str]] = {}
    for row in rows[: logs.LOGGED_IDS_MAX]:
        if row.submission_id is not None:
            shown.setdefault(public_id(SUBMISSION, row.submission_id), []).append(public_id(PAYOUT, row.id))
    return shown


def poll_payouts(context: Context, payout_ids: list[uuid.UUID]) -> None:
    """Asks the provider about payouts whose webhook never came."""
    mine, others = context.split_by_lease(payout_ids)
    context.task_sender.enqueue(task_queue.POLL_PAYOUTS, others)
    failpoint("poll.after_passing_on")
    first_seconds = context.settings.poll_after_instant_seconds
    with context.engine.begin() as connection:
        questions = poll.start_polls(connection, mine, context.clock.now(), first_seconds=first_seconds)
    failpoint("poll.before_call")
    outcomes = context.paystream.call_all([question.call() for question in questions])
    failpoint("poll.after_call")
    with context.engine.begin() as connection:
        poll.apply_poll_outcomes(connection, questions, outcomes, context.clock.now())


ACTORS = {
    task_queue.QUEUE_PAYOUTS: queue_payouts,
    task_queue.SUBMIT_PAYOUTS: submit_payouts,
    task_queue.POLL_PAYOUTS: poll_payouts,
}
