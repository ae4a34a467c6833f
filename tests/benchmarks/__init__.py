"""Benchmarks: each starts its own stack and prints a table; `make bench` runs them all."""
