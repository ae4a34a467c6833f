"""The scheduler: rings for what is due, and proves the ledger. Any number may run."""

from shared import lean as lean
