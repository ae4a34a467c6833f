"""Reconciliation: compare our record with the provider's, both ways, and detect a restored backup.

A run reads the provider's payments page by page and records each difference as a case; it moves no money. Owns the
tables `reconciliation_runs` and `installation`. Pages are read with no transaction open; what stops payouts locks them
in the order of their ids, and changes of the installation lock its row first.
"""
