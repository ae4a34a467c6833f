"""The domain of OVN Pay and what its three services need in common."""
