"""Invariants: what must be true of the money, whatever happens. One small file each; `LAWS` lists them."""

from shared.invariants.law import Break, Invariant, Portion
from shared.invariants.laws import BY_NAME, LAWS
from shared.invariants.proving import Proof, prove

__all__ = ["BY_NAME", "LAWS", "Break", "Invariant", "Portion", "Proof", "prove"]
