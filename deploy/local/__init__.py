"""The whole system on one machine: embedded servers and our services as supervised processes."""
