"""Funding of wallets: top-ups through the provider, and the projection of balances.

Promises: a top-up is credited only after the provider has confirmed it, and is never requested twice. Owns the table
`topups`. Locks a top-up, then its wallet.
"""
