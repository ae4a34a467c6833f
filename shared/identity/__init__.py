"""Who acts: users and their sessions, API keys, and the audit log of what they did.

Passwords are stored as argon2id hashes; session tokens and API keys as HMACs under a secret pepper. An audit entry is
written in the transaction of the action it describes and never changes.
Owns `users`, `sessions`, `api_keys` and `audit_entries`; `shared.onboarding` inserts an organization's first rows
through it. A key request locks its organization's row (FOR SHARE), a change to a key locks the key's row; nothing else
is locked.
"""
