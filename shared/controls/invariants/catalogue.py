"""The list of all invariants, most severe first."""

from typing import Final

from shared.controls.invariants import (
    accounts,
    analytics_agree,
    answers_have_rows,
    batches_released,
    customer_events_written,
    deadlines,
    ends_match_provider,
    histories,
    keys_pay_once,
    money_follows_status,
    paid_as_ordered,
    paid_once,
)
from shared.controls.invariants.invariant import Invariant

INVARIANTS: Final[tuple[Invariant, ...]] = (
    paid_once.INVARIANT,
    paid_as_ordered.INVARIANT,
    ends_match_provider.INVARIANT,
    money_follows_status.INVARIANT,
    accounts.INVARIANT,
    accounts.BALANCES,
    histories.INVARIANT,
    keys_pay_once.INVARIANT,
    answers_have_rows.INVARIANT,
    batches_released.INVARIANT,
    deadlines.INVARIANT,
    customer_events_written.INVARIANT,
    customer_events_written.DELIVERIES,
    analytics_agree.INVARIANT,
)

INVARIANTS_BY_NAME: Final = {invariant.name: invariant for invariant in INVARIANTS}
