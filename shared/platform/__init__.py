"""What every service needs and what knows nothing of money: settings, database access, task queue, logs, metrics, ids.

Promises: no module here imports another package of `shared`; importing one starts no thread and opens no connection.
Tables: owns `idempotency_keys` alone.
Locks: `idempotency.lock_key` takes an advisory lock for one key until the transaction ends; callers that also lock a
wallet take the wallet's lock first.
"""
