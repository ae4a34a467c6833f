"""Definitions of analytics' values. Each counts when the ledger moved its money, and equals the ledger to the cent.

- accepted: payouts whose amount was reserved, at acceptance or, in a batch, at release;
- retried: further attempts, whose amount was reserved again;
- volume: amounts of completed payouts: net to the drivers, and our fees;
- paid, failed, canceled: outcomes of attempts; a payout canceled in a batch before its release counts nowhere;
- returned: payouts that banks sent back after completion; they stay in volume, their net amounts are separate;
- success rate: paid / (paid + failed);
- time to paid: seconds from the first reservation to completion, retries included; percentiles are within 5 %.
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, TypeVar

from shared.reporting.analytics.waits import percentile_seconds


@dataclass(frozen=True)
class OutcomeTotals:
    """Sums of outcomes, by their columns in the tables."""

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
        return self.net_cents + self.fee_cents

    @property
    def success_rate(self) -> float | None:
        """Paid attempts / (paid + failed); None without any."""
        ended = self.paid_count + self.failed_count
        return round(self.paid_count / ended, 6) if ended else None

    @cached_property
    def p50_seconds(self) -> float | None:
        return percentile_seconds(self.waits, 0.5)

    @cached_property
    def p95_seconds(self) -> float | None:
        return percentile_seconds(self.waits, 0.95)


@dataclass(frozen=True)
class PayoutTotals(OutcomeTotals):
    """Sums of reservations and outcomes."""

    accepted_count: int = 0
    accepted_cents: int = 0
    retried_count: int = 0
    retried_cents: int = 0
    canceled_count: int = 0
    canceled_cents: int = 0


TotalsType = TypeVar("TotalsType", bound=OutcomeTotals)


def totals_from_row(totals_type: type[TotalsType], row: Any) -> TotalsType:
    """Convert a row's sums."""
    values = {field.name: getattr(row, field.name) for field in fields(totals_type)}
    return totals_type(**values | {"waits": tuple(values["waits"])})


def add_totals(parts: Iterable[PayoutTotals]) -> PayoutTotals:
    """Add totals up."""
    totals = list(parts)
    waits = tuple(part for one in totals for part in one.waits)
    names = [field.name for field in fields(PayoutTotals) if field.name != "waits"]
    return PayoutTotals(waits=waits, **{name: sum(getattr(one, name) for one in totals) for name in names})
