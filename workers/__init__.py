"""The workers: Dramatiq actors that move payouts through the pipeline."""

from shared.platform import unused_imports as unused_imports
