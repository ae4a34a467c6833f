"""Paystream, the payment provider: a stranger that may answer late, twice, wrongly, or not at all."""
