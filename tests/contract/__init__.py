"""The API reference, sample by sample, and every mistake a client can make, against the running system."""
