"""Actors for submissions: send what is written down, record what came back."""

import uuid
from collections.abc import Sequence
from datetime import timedelta

from shared import broker
from shared.payouts import answers, lookup, submit
from shared.payouts.submit import Held
from shared.paystream.outcomes import Outcome
from workers.context import Context


def send_submissions(context: Context, submission_ids: list[uuid.UUID]) -> None:
    """Sends the submissions that still need it and that nobody holds."""
    mine, others = split_off(context, submission_ids)
    with context.engine.begin() as connection:
        held = submit.claim(connection, mine, lease_seconds=context.settings.lease_seconds)
    context.doorbell.ring(broker.SEND_SUBMISSIONS, others)
    send_held(context, held)


def send_instant_submissions(context: Context, submission_ids: list[uuid.UUID]) -> None:
    """The same for instant payouts, on a queue of their own."""
    mine, others = split_off(context, submission_ids)
    with context.engine.begin() as connection:
        held = submit.claim(connection, mine, lease_seconds=context.settings.lease_seconds)
    context.doorbell.ring(broker.SEND_INSTANT_SUBMISSIONS, others)
    send_held(context, held)


def split_off(context: Context, ids: Sequence[uuid.UUID]) -> tuple[Sequence[uuid.UUID], Sequence[uuid.UUID]]:
    """As many as can be called within a lease even if each call times out, and the rest, for another message."""
    settings = context.settings
    rounds = int(settings.lease_seconds / settings.paystream_timeout_seconds / 2)
    most = max(rounds, 1) * settings.paystream_concurrency
    return ids[:most], ids[most:]


def send_held(context: Context, held: Sequence[Held]) -> None:
    """Calls the provider for submissions that this worker holds, with no transaction open, and records each answer.

    One whose key the provider may have forgotten is looked up instead.
    """
    now = context.clock.now()
    lifetime = timedelta(seconds=context.settings.paystream_key_lifetime_seconds)
    fresh = [one for one in held if now - one.first_sent_at < lifetime]
    answered = context.paystream.call_all([one.call() for one in fresh])
    outcomes: list[tuple[Held, Outcome | None]] = list(zip(fresh, answered, strict=True))
    outcomes += [(one, lookup.find(context.paystream, one)) for one in held if one not in fresh]
    for one, outcome in outcomes:
        with context.engine.begin() as connection:
            if outcome is None:
                answers.give_up(connection, one, context.clock.now())
                continue
            recorded = answers.record(
                connection, one, outcome, context.clock.now(), poll_after=context.poll_after(one.rail)
            )
        context.doorbell.ring(broker.SEND_SUBMISSIONS, recorded.submissions)
        context.doorbell.ring(broker.APPLY_PROVIDER_EVENTS, recorded.events)


ACTORS = {
    broker.SEND_SUBMISSIONS: send_submissions,
    broker.SEND_INSTANT_SUBMISSIONS: send_instant_submissions,
}
