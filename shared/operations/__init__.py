"""Operations: what keeps an installation running: due rows, retention, dead letters, pepper rotation, the doctor.

Owns the table `retention_marks`; claims due rows of others with SKIP LOCKED, one table per transaction.
"""
