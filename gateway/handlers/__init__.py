"""The handlers: each parses, calls the domain, shapes the answer."""
