"""What every service needs and what knows nothing of money: settings, database access, task queue, logs, metrics, ids.

Promises: imports no other package of `shared`; importing a module starts no thread and opens no connection.
Tables: `idempotency_keys`. Locks: `idempotency.lock_key`, one key's advisory lock, after the wallet's lock if both.
"""
