"""The workers: Dramatiq actors that move payouts through the pipeline."""

import os

# An idle consumer looks at its queue this often, in milliseconds: the most that a doorbell waits to be heard. Dramatiq
# reads it when it is imported, so it is set before any of our modules is; with its own second a payout would wait one.
os.environ.setdefault("dramatiq_worker_timeout", "25")
