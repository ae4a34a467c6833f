"""gateway.intake."""
