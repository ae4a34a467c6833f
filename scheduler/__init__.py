"""The scheduler: enqueues due rows, checks invariants, and runs other periodic jobs. Any number may run at once.

Each job claims its work in the database. Tables: none; locks: due rows with `FOR UPDATE SKIP LOCKED`.
"""

# First, because it keeps unused imports out of memory.
from shared.platform import process_memory as process_memory
