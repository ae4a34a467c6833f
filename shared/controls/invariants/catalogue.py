"""The list of all invariants, the gravest first."""

from typing import Final

from shared.controls.invariants import (
    accounts,
    analytics_agree,
    answers_have_rows,
    balances,
    batches_released,
    customer_events_written,
    deadlines,
    deliveries_written,
    ends_match_provider,
    histories,
    keys_pay_once,
    money_follows_status,
    paid_as_ordered,
    paid_once,
)
from shared.controls.invariants.invariant import Invariant

INVARIANTS: Final[tuple[Invariant, ...]] = tuple(
    module.INVARIANT
    for module in (
        paid_once,
        paid_as_ordered,
        ends_match_provider,
        money_follows_status,
        accounts,
        balances,
        histories,
        keys_pay_once,
        answers_have_rows,
        batches_released,
        deadlines,
        customer_events_written,
        deliveries_written,
        analytics_agree,
    )
)

INVARIANTS_BY_NAME: Final = {one.name: one for one in INVARIANTS}
