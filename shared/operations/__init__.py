"""shared.operations."""
