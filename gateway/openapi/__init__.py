"""gateway.openapi."""
