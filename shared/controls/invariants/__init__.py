"""Invariants: what must be true of the money, whatever happens. One small file each; `INVARIANTS` lists them."""

from shared.controls.invariants.catalogue import INVARIANTS, INVARIANTS_BY_NAME
from shared.controls.invariants.check import CheckResult, check_invariants
from shared.controls.invariants.invariant import Invariant, KeySlice

__all__ = ["INVARIANTS", "INVARIANTS_BY_NAME", "CheckResult", "Invariant", "KeySlice", "check_invariants"]
