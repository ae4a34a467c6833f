"""The scheduler: rings for what is due, and proves the ledger. Any number may run."""

from shared.platform import unused_imports as unused_imports
