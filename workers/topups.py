"""The actor that asks the provider for top-ups and credits them once they have settled."""

import uuid

from shared import broker, funding
from workers.context import Context


def request_topups(context: Context, topup_ids: list[uuid.UUID]) -> None:
    """pending → settled | failed, by the provider's word."""
    with context.engine.begin() as connection:
        held = funding.claim(connection, topup_ids, lease_seconds=context.settings.lease_seconds)
    outcomes = context.paystream.call_all([topup.call() for topup in held])
    for topup, outcome in zip(held, outcomes, strict=True):
        with context.engine.begin() as connection:
            funding.record(connection, topup, outcome, context.clock.now())


ACTORS = {broker.REQUEST_TOPUPS: request_topups}
