"""shared.funding."""
