"""The scheduler: enqueues due rows, checks invariants, and runs the other periodic jobs. Any number may run at once.

Promises: each job claims its work in the database, so two schedulers never do the same thing twice, and correctness
depends on none of them. Tables: none; locks: due rows with `FOR UPDATE SKIP LOCKED`, and those of the domain functions
that a job calls.
"""

# First, because it keeps unused imports out of memory.
from shared.platform import process_memory as process_memory
