"""Actors for submissions: send what is written down, record what came back."""

import uuid
from collections.abc import Sequence

import structlog

from shared import broker, log
from shared.ids import PAYOUT, SUBMISSION, show
from shared.payouts import answers, lookup, submit
from shared.payouts.submit import Held
from shared.paystream.outcomes import Outcome
from workers.context import Context

logger = structlog.get_logger(__name__)

MARGIN_SECONDS = 600.0
"""A key is not re-sent this close to the end of its lifetime: the provider's clock is not ours."""


def send_submissions(context: Context, submission_ids: list[uuid.UUID]) -> None:
    """Sends the submissions that still need it and that nobody holds."""
    _send(context, submission_ids, broker.SEND_SUBMISSIONS)


def send_instant_submissions(context: Context, submission_ids: list[uuid.UUID]) -> None:
    """The same for instant payouts, on a queue of their own."""
    _send(context, submission_ids, broker.SEND_INSTANT_SUBMISSIONS)


def _send(context: Context, submission_ids: Sequence[uuid.UUID], bell: broker.Bell) -> None:
    mine, others = context.split_off(submission_ids)
    context.doorbell.ring(bell, others)
    with context.engine.begin() as connection:
        held = submit.claim(connection, mine, lease_seconds=context.settings.lease_seconds)
    send_held(context, held)


def send_held(context: Context, held: Sequence[Held]) -> None:
    """Calls the provider for submissions that this worker holds, with no transaction open, and records each answer
    as it comes. One whose key the provider may have forgotten is looked up instead, after the others."""
    settings = context.settings
    fresh_seconds = settings.paystream_key_lifetime_seconds - settings.lease_seconds - MARGIN_SECONDS
    fresh = [one for one in held if one.sent_for_seconds < fresh_seconds]
    for place, outcome in context.paystream.call_each([one.call() for one in fresh]):
        _record(context, fresh[place], outcome)
    for one in held:
        if one not in fresh:
            _record(context, one, lookup.find(context.paystream, one))


def _record(context: Context, one: Held, outcome: Outcome | None) -> None:
    """Records one answer in a transaction of its own; a failure is this one's alone, and its lease will run out."""
    try:
        with context.engine.begin() as connection:
            if outcome is None:
                answers.give_up(connection, one, context.clock.now())
                return
            recorded = answers.record(
                connection, one, outcome, context.clock.now(), poll_after=context.poll_after(one.rail)
            )
    except Exception:
        logger.exception("submission.not_recorded", submission=show(SUBMISSION, one.id))
        return
    if recorded.payments:
        payments = {show(PAYOUT, payout_id): payment[:64] for payout_id, payment in recorded.payments[: log.IDS_MOST]}
        name = show(SUBMISSION, one.id)
        logger.info("submission.accepted", submission=name, payments=payments, count=len(recorded.payments))
    context.doorbell.ring(broker.SEND_SUBMISSIONS, recorded.submissions)
    context.doorbell.ring(broker.APPLY_PROVIDER_EVENTS, recorded.events)


ACTORS = {
    broker.SEND_SUBMISSIONS: send_submissions,
    broker.SEND_INSTANT_SUBMISSIONS: send_instant_submissions,
}
