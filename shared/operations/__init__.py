"""Operations: due rows, retention, dead letters, pepper rotation, and the doctor.

Owns `retention_marks`; claims due rows of other packages' tables with SKIP LOCKED.
"""
