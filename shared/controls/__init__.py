"""shared.controls."""
