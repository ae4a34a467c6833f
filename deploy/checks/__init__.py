"""Checks that a change must pass besides lint, types and tests: `python -m deploy.checks.NAME`, or `make NAME`."""
