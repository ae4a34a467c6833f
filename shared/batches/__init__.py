"""Batches: handed in, released together, done when their last payout has ended. No function here commits."""
