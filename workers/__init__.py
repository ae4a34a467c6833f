"""Workers: Dramatiq actors that move payouts through the pipeline, and what runs them.

Each actor takes ids, opens its transactions, calls the domain, and reads every row again under its lock: a message may
be lost, repeated or out of order. An actor that talks to the provider leases its rows first, so another worker does not
repeat the call; no transaction is open during a call. Tables: none; locks: those of the domain functions it calls.
"""

# First, because it keeps unused imports out of memory.
from shared.platform import process_memory as process_memory
