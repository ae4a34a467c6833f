"""Benchmarks: how fast it is, beside what the same machine does in the same run with something well known.

`make bench` runs them all; see `python -m tests.benchmarks --help`. One file in `lines/` for each line of the table,
one in `yardsticks/` for each yardstick.
"""
