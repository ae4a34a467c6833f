"""The running system, watched from outside as a customer, the provider and an auditor see it: one story a file."""
