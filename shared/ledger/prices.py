"""Prices: what a payout costs, from the price list in the database."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.platform.pipelined_queries import Query, run_queries
from shared.schema.payouts import Rail


class PriceRow(NamedTuple):
    """One line of the price list; see `shared.schema.tables.ledger.Price`."""

    rail: str
    in_batch: bool
    from_amount_cents: int
    flat_cents: int
    basis_points: int
    cap_cents: int | None


class PriceList:
    """The prices at one moment."""

    def __init__(self, lines: Iterable[PriceRow]) -> None:
        self._lines: dict[tuple[str, bool], list[PriceRow]] = {}
        for line in sorted(lines, key=lambda line: -line.from_amount_cents):
            self._lines.setdefault((line.rail, line.in_batch), []).append(line)

    def line(self, rail: Rail, amount_cents: int, *, in_batch: bool = False) -> PriceRow:
        """The line that holds for this amount. A rail without a batch price costs its single price.

        Raises:
            LookupError: the list has no line for the rail; migrations put one there for each.

        """
        for line in self._lines.get((rail, in_batch)) or self._lines.get((rail, False), []):
            if amount_cents >= line.from_amount_cents:
                return line
        raise LookupError(f"The price list has no line for {rail} payouts of {amount_cents} cents")

    def fee_cents(self, rail: Rail, amount_cents: int, *, in_batch: bool = False) -> int:
        """The fee for a payout, in cents: taken out of the amount."""
        line = self.line(rail, amount_cents, in_batch=in_batch)
        fee_cents = line.flat_cents + (amount_cents * line.basis_points + 5_000) // 10_000
        return fee_cents if line.cap_cents is None else min(fee_cents, line.cap_cents)


_LOAD: Final = sa.text("SELECT rail, in_batch, from_amount_cents, flat_cents, basis_points, cap_cents FROM prices")


def load_price_list_query() -> Query[PriceList]:
    """Asks for the price list as it is now. Quotes and charges both read it, so they are equal."""
    return Query(_LOAD, {}, lambda rows: PriceList(map(PriceRow._make, rows)))


def load_price_list(connection: sa.Connection) -> PriceList:
    """The price list as it is now."""
    [found] = run_queries(connection, load_price_list_query())
    return found  # type: ignore[no-any-return]
