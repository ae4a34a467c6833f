"""Batches: created with all their payouts, released together, completed with their last payout.

Promises: creation and release are all or nothing; a release that the balance doesn't cover can be repeated. Owns the
table `batches`, except its counters and final status (`shared.payouts.counters`). Locks payouts, then wallets, then
batches. No function here commits.
"""
