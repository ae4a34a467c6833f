"""Actors that send submissions to the provider and record its answers."""

import uuid
from collections.abc import Sequence
from functools import partial

import structlog

from shared.holds.conditions import is_on_hold
from shared.payouts import lookup, metrics, provider_results
from shared.payouts.submission_leases import LeasedSubmission, claim_submissions
from shared.platform import logs, task_queue
from shared.platform.failpoints import failpoint
from shared.platform.ids import PAYOUT, SUBMISSION, public_id
from shared.provider.outcomes import Accepted, CallOutcome, Rejected, Unknown
from workers.context import Context

logger = structlog.get_logger(__name__)

NOT_FOUND_ON_HOLD = "not found at the provider, and not sent again while its money is on hold"

MARGIN_SECONDS = 600.0
"""A key is not re-sent this close to the end of its lifetime, because the provider's clock may differ from ours."""


def send_submissions(context: Context, submission_ids: list[uuid.UUID]) -> None:
    """Send the submissions that are due and not leased."""
    _send(context, submission_ids, task_queue.SEND_SUBMISSIONS)


def send_instant_submissions(context: Context, submission_ids: list[uuid.UUID]) -> None:
    """Send those of instant payouts, which have a queue of their own."""
    _send(context, submission_ids, task_queue.SEND_INSTANT_SUBMISSIONS)


def _send(context: Context, submission_ids: Sequence[uuid.UUID], task: task_queue.Task) -> None:
    mine, others = context.split_by_lease(submission_ids)
    context.task_sender.enqueue(task, others)
    failpoint("send.after_passing_on")
    with context.engine.begin() as connection:
        leased = claim_submissions(connection, mine, lease_seconds=context.settings.lease_seconds)
    send_leased(context, leased or claim_after_identity_check(context, mine))


def claim_after_identity_check(context: Context, submission_ids: Sequence[uuid.UUID]) -> list[LeasedSubmission]:
    """Lease the submissions after verifying the database identity, as is needed after the database restarted."""
    if not submission_ids or not context.can_send_money():
        return []
    with context.engine.begin() as connection:
        return claim_submissions(connection, submission_ids, lease_seconds=context.settings.lease_seconds)


def send_leased(context: Context, leased: Sequence[LeasedSubmission]) -> None:
    """Call the provider for leased submissions, with no transaction open, and record each answer as it arrives.

    A submission whose key may have expired, or whose money is on hold, is looked up instead, after the others.
    """
    settings = context.settings
    fresh_seconds = settings.paystream_key_lifetime_seconds - settings.lease_seconds - MARGIN_SECONDS
    fresh = [one for one in leased if one.sent_for_seconds < fresh_seconds and not one.lookup_only]
    failpoint("send.before_call")
    for place, outcome in context.paystream.call_each([one.call(partial(_may_send, context, one)) for one in fresh]):
        failpoint("send.after_call")
        _record(context, fresh[place], outcome)
    for one in leased:
        if one not in fresh:
            failpoint("lookup.before_call")
            found = lookup.find_payment(context.paystream, one)
            failpoint("lookup.after_call")
            if found is None and one.sent_for_seconds < fresh_seconds:
                found = Unknown(NOT_FOUND_ON_HOLD)  # the key is valid: sent again once the hold ends
            _record(context, one, found)


def _may_send(context: Context, one: LeasedSubmission) -> bool:
    """Check for a hold immediately before the call."""
    with context.engine.begin() as connection:
        return not is_on_hold(connection, one.wallet_id, one.rail)


def _record(context: Context, one: LeasedSubmission, outcome: CallOutcome | None) -> None:
    """Record one answer in its own transaction; if that fails, the others go on, and this lease expires."""
    try:
        with context.engine.begin() as connection:
            if outcome is None:
                provider_results.mark_unresolved(connection, one, context.clock.now())
                return
            recorded = provider_results.record_outcome(
                connection, one, outcome, context.clock.now(), poll_after=context.poll_after(one.rail)
            )
            if isinstance(outcome, Accepted | Rejected):
                metrics.observe_first_submission(connection, one.id)
            failpoint("send.before_commit")
    except Exception:
        logger.exception("submission.not_recorded", submission=public_id(SUBMISSION, one.id))
        return
    failpoint("send.after_commit")
    if recorded.payments:
        payments = {
            public_id(PAYOUT, payout_id): payment[:64]
            for payout_id, payment in recorded.payments[: logs.LOGGED_IDS_MAX]
        }
        name = public_id(SUBMISSION, one.id)
        logger.info("submission.accepted", submission=name, payments=payments, count=len(recorded.payments))
    context.task_sender.enqueue(task_queue.SEND_SUBMISSIONS, recorded.submissions)
    context.task_sender.enqueue(task_queue.APPLY_PROVIDER_EVENTS, recorded.events)


ACTORS = {
    task_queue.SEND_SUBMISSIONS: send_submissions,
    task_queue.SEND_INSTANT_SUBMISSIONS: send_instant_submissions,
}
