"""Controls: checks that the money is right, independent of the code that moves it.

`invariants` checks our own tables against each other; `reconciliation` compares them with the provider's record and
keeps a restored backup from paying twice. They read every table and write only `invariant_proofs`,
`reconciliation_runs` and `installation`; what they find becomes cases and outgoing holds (`shared.holds`).
"""
