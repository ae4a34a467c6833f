"""The workers: Dramatiq actors that move payouts through the pipeline."""
