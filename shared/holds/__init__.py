"""Outgoing holds: what money must not leave for the provider now. Placed by people and by broken invariants."""
