"""Reconciliation: our record against the provider's, both ways. It finds and tells; it moves no money."""
