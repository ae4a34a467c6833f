"""Controls: check that the money is right, independently of the code that moves it.

`invariants` checks our tables against each other; `reconciliation` compares them with the provider's record. Findings
become cases and outgoing holds.
"""
