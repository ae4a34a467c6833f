"""Analytics: what was paid, how fast and how well, for any range of time; exact at any moment.

The money path knows nothing of it. `fold` adds the ledger up afterwards, by time, by driver and by failure; what it
has not come to yet is read from the ledger when somebody asks, at the same moment as the sums.

This leaves nothing out: every transfer is given its `position` under its wallet's lock, which is held until the commit
(`shared.ledger.post_transfers` is the only way to a transfer, of every kind). So a wallet's transfers become visible
in the
order of their positions, and whatever is up to the position folded last is in the sums, all of it, for ever.
"""
