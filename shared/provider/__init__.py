"""Paystream, the payment provider: HTTP client, wire format, call budget, outcomes and webhook signatures.

Promises: at most the provider's rate limit over all processes; each call becomes exactly one of five outcomes, and only
a definite rejection counts as a failure. Owns the tables `provider_limits` and `provider_calls`. Locks one
`provider_limits` row per limit of the call (funding, questions, requests: in that order), in a transaction of its own.
"""
