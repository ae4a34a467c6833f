"""Workers: Dramatiq actors that move payouts through the pipeline, and what runs them.

An actor reads every row again under its lock, because a message may be lost, repeated or out of order. It leases rows
before it calls the provider, and has no transaction open during a call. Tables: none; locks: those of the domain.
"""

# First, because it keeps unused imports out of memory.
from shared.platform import process_memory as process_memory
