"""Everything that may stop outgoing money: outgoing holds, the outbound guard and reconciliation cases.

Promises: a hold takes effect within a second of its commit; nothing is sent from a restored database before it was
reconciled. Owns the tables `outgoing_holds` and `reconciliation_cases`. Lifting locks the hold, then what waited for it
(skipping locked rows). Packages that send money import this one; it imports none of them.
"""
