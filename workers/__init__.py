"""The workers: Dramatiq actors that move payouts through the pipeline."""

from shared import lean as lean
