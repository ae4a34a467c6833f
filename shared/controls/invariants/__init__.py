"""Invariants: statements about the money that are true at any moment, each a query for its violations.

`sweep` checks changes within minutes and all rows within a day. Owns the table `invariant_proofs`, whose row leases a
check; a check reads a snapshot and locks nothing.
"""

from shared.controls.invariants.catalogue import INVARIANTS, INVARIANTS_BY_NAME
from shared.controls.invariants.check import CheckResult, check_invariants
from shared.controls.invariants.invariant import Invariant, KeySlice

__all__ = ["INVARIANTS", "INVARIANTS_BY_NAME", "CheckResult", "Invariant", "KeySlice", "check_invariants"]
