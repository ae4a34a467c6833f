"""Payouts: accepted, queued, submitted, applied. Every function takes a set; one payout is a list of one.

No function here commits: the entry point that called it owns the transaction.
"""
