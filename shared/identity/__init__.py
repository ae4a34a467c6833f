"""Who acts: users and their sessions, API keys, and the audit log.

Passwords are stored as argon2id hashes; session tokens and API keys as HMACs under a secret pepper. An audit entry is
written in the transaction of its action and never changes. Owns `users`, `sessions`, `api_keys` and `audit_entries`.
Requesting a key locks the organization's row (FOR SHARE), changing one the key's row.
"""
