"""Yardsticks: what the same machine does, in the same run, with something well known."""
