"""Prices of payouts, from the price list in the database."""

from collections.abc import Iterable
from typing import Final, NamedTuple

import sqlalchemy as sa

from shared.platform.pipelined_queries import Query, run_queries
from shared.schema.payouts import Rail


class PriceRow(NamedTuple):
    """A row of the price list; see `shared.schema.tables.ledger.Price`."""

    rail: str
    in_batch: bool
    from_amount_cents: int
    flat_cents: int
    basis_points: int
    cap_cents: int | None


class PriceList:
    """The price list in one snapshot."""

    def __init__(self, rows: Iterable[PriceRow]) -> None:
        self._rows: dict[tuple[str, bool], list[PriceRow]] = {}
        for row in sorted(rows, key=lambda row: -row.from_amount_cents):
            self._rows.setdefault((row.rail, row.in_batch), []).append(row)

    def price_for(self, rail: Rail, amount_cents: int, *, in_batch: bool = False) -> PriceRow:
        """The row that applies to this amount. A rail without a batch price has its single price in batches.

        Raises:
            LookupError: the list has no row for the rail; migrations insert one for each.

        """
        for row in self._rows.get((rail, in_batch)) or self._rows.get((rail, False), []):
            if amount_cents >= row.from_amount_cents:
                return row
        raise LookupError(f"The price list has no price for {rail} payouts of {amount_cents} cents")

    def fee_cents(self, rail: Rail, amount_cents: int, *, in_batch: bool = False) -> int:
        """The fee, deducted from the amount; basis points are rounded half up."""
        price = self.price_for(rail, amount_cents, in_batch=in_batch)
        fee_cents = price.flat_cents + (amount_cents * price.basis_points + 5_000) // 10_000
        return fee_cents if price.cap_cents is None else min(fee_cents, price.cap_cents)


# Returns the price list. Locks nothing.
_PRICES: Final = sa.text("SELECT rail, in_batch, from_amount_cents, flat_cents, basis_points, cap_cents FROM prices")


def load_price_list_query() -> Query[PriceList]:
    """Query for the current price list, for quotes and charges alike."""
    return Query(_PRICES, {}, lambda rows: PriceList(map(PriceRow._make, rows)))


def load_price_list(connection: sa.Connection) -> PriceList:
    """The current price list."""
    [price_list] = run_queries(connection, load_price_list_query())
    return price_list  # type: ignore[no-any-return]
