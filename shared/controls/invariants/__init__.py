"""Invariants: what must be true of the money, whatever happens. One small file each; `LAWS` lists them."""

from shared.controls.invariants.catalogue import BY_NAME, LAWS
from shared.controls.invariants.check import Proof, prove
from shared.controls.invariants.invariant import Break, Invariant, Portion

__all__ = ["BY_NAME", "LAWS", "Break", "Invariant", "Portion", "Proof", "prove"]
