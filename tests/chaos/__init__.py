"""Chaos: a seeded plan injects faults into the whole system under load; no payout may be lost or paid twice."""
