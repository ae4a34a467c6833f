"""Benchmarks, each beside a yardstick on the same machine in the same run.

`make bench` runs them all; see `python -m tests.benchmarks --help`. One file in `lines/` for each line of the table,
one in `yardsticks/` for each yardstick.
"""
