"""Reconciliation: compare our record with the provider's, both ways, and detect a restored backup. Moves no money.

Owns `reconciliation_runs` and `installation`. Reads pages with no transaction open; locks the installation's row first,
then payouts in the order of their ids.
"""
