"""What takes minutes: `make chaos-controls` runs it, `make test` does not."""
