"""The tests, in tiers by what they need: see each folder."""
