"""shared.identity."""
