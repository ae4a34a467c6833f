"""The list of all invariants, the gravest first."""

from typing import Final

from shared.invariants import (
    accounts,
    analytics_agree,
    answers_have_rows,
    balances,
    batches_released,
    deadlines,
    deliveries_written,
    ended_as_told,
    events_told,
    histories,
    keys_pay_once,
    money_follows_status,
    paid_as_ordered,
    paid_once,
)
from shared.invariants.law import Invariant

LAWS: Final[tuple[Invariant, ...]] = tuple(
    module.INVARIANT
    for module in (
        paid_once,
        paid_as_ordered,
        ended_as_told,
        money_follows_status,
        accounts,
        balances,
        histories,
        keys_pay_once,
        answers_have_rows,
        batches_released,
        deadlines,
        events_told,
        deliveries_written,
        analytics_agree,
    )
)

BY_NAME: Final = {one.name: one for one in LAWS}
