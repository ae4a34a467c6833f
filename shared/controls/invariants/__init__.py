"""Invariants: statements about the money that are true at any moment, checked by the scheduler and `ovnpay verify`.

Each is a query for its violations. `INVARIANTS` lists them; `check_invariants` checks everything once, `sweep` checks
what changed every few minutes and everything within a day. Owns the table `invariant_proofs`, whose row is also the
lease of the scheduler that checks; a check reads a snapshot and locks nothing.
"""

from shared.controls.invariants.catalogue import INVARIANTS, INVARIANTS_BY_NAME
from shared.controls.invariants.check import CheckResult, check_invariants
from shared.controls.invariants.invariant import Invariant, KeySlice

__all__ = ["INVARIANTS", "INVARIANTS_BY_NAME", "CheckResult", "Invariant", "KeySlice", "check_invariants"]
