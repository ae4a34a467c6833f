"""Analytics: what was paid, how fast and how well, for any time range; exact at any moment.

The scheduler folds the ledger into sums by time, driver and failure; a query reads the sums, and transfers not folded
yet, in one snapshot. No transfer is missed: `shared.ledger.posting` assigns each a `position` under its wallet's lock,
so a wallet's transfers become visible in that order, and all up to the position folded last are in the sums.
"""
