"""shared.cli.operator."""
