"""The words of analytics, and how each figure is made of sums.

Everything counts at the time when the ledger moved money for it: a payout accepted in May and paid in June is accepted
in May and paid in June. Each figure can be found again in the ledger, to the cent.

- accepted: payouts whose amount was set aside, at their acceptance or, in a batch, at its release;
- retried: further attempts, whose amount was set aside again;
- volume: the amounts of payouts that completed; of it, fees are ours and net reached the drivers;
- paid, failed, canceled: what became of attempts. A payout canceled in a batch before its release had nothing set
  aside, and counts nowhere;
- returned: payouts that banks sent back, days after they had completed. They stay in volume: what came back, the net
  amount, stands beside it;
- success rate: paid of paid and failed; none where there is neither;
- time to paid: from when the amount was first set aside to the completion, retries included, in seconds; the value
  that half, or 95 %, of the paid did not exceed, within 5 %.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

from shared.reporting.analytics.waits import percentile_seconds


@dataclass(frozen=True)
class OutcomeTotals:
    """What ended; the columns of `shared.schema.tables.analytics.Ended`."""

    paid_count: int = 0
    net_cents: int = 0
    fee_cents: int = 0
    failed_count: int = 0
    failed_cents: int = 0
    returned_count: int = 0
    returned_cents: int = 0
    waits: tuple[int, ...] = ()

    @property
    def volume_cents(self) -> int:
        """The amounts of what was paid."""
        return self.net_cents + self.fee_cents

    @property
    def success_rate(self) -> float | None:
        """The part of the ended attempts that was paid."""
        ended = self.paid_count + self.failed_count
        return round(self.paid_count / ended, 6) if ended else None

    @cached_property
    def p50_seconds(self) -> float | None:
        """Half of the paid took no longer."""
        return percentile_seconds(self.waits, 0.5)

    @cached_property
    def p95_seconds(self) -> float | None:
        """Of 20 paid, 19 took no longer."""
        return percentile_seconds(self.waits, 0.95)


@dataclass(frozen=True)
class PayoutTotals(OutcomeTotals):
    """What began and what ended; the columns of `shared.schema.tables.analytics.AnalyticsTotal`."""

    accepted_count: int = 0
    accepted_cents: int = 0
    retried_count: int = 0
    retried_cents: int = 0
    canceled_count: int = 0
    canceled_cents: int = 0


TotalsType = TypeVar("TotalsType", bound=OutcomeTotals)


def totals_from_row(shape: type[TotalsType], row: Any) -> TotalsType:
    """A row's sums as figures."""
    values = {field.name: getattr(row, field.name) for field in fields(shape)}
    return shape(**values | {"waits": tuple(values["waits"])})


def add_totals(parts: Iterable[PayoutTotals]) -> PayoutTotals:
    """The sum of figures."""
    listed = list(parts)
    waits = tuple(part for one in listed for part in one.waits)
    names = [field.name for field in fields(PayoutTotals) if field.name != "waits"]
    return PayoutTotals(waits=waits, **{name: sum(getattr(one, name) for one in listed) for name in names})
