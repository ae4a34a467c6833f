"""Payouts: accepted, queued, submitted to the provider, settled. Every function takes a set; none commits.

Promises: each accepted payout is paid at most once, and ends as the provider's record says. Owns `payouts`,
`payout_transitions`, `submissions`, `submission_items` and `payout_resolutions`.
Lock order: submissions or provider events, payouts by id, accounts by wallet id, then drivers, counters and batches.
"""
