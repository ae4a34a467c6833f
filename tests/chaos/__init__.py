"""The chaos machine: the whole system under load while a seeded plan breaks everything, and the proof that nothing was lost."""
