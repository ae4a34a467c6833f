"""Paystream, the payment provider: client, wire format, call budget, outcomes and webhook signatures.

Promises: at most the provider's rate limit over all processes; only a definite rejection counts as a failure. Owns the
tables `provider_limits` and `provider_calls`. Locks the `provider_limits` rows of a call in the order funding,
questions, requests, in a transaction of its own.
"""
