"""Drivers: registering and editing them, making them known to the provider, reading them."""
