"""Yardsticks: figures of well-known software on the same machine in the same run."""
