"""The whole system on one machine: the embedded servers and the supervisor, with real processes."""
