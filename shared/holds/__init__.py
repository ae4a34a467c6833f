"""Everything that may stop outgoing money: outgoing holds, the outbound guard and reconciliation cases.

Promises: a hold takes effect within a second of its commit, wherever the payout is by then; no money is sent from a
restored database before it was reconciled. Owns the tables `outgoing_holds` and `reconciliation_cases`; reads
`installation`. Lifting a hold locks the hold, then the payouts and submissions that waited (skipping locked ones).
Packages that send money import this one; it imports none of them.
"""
