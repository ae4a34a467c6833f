"""Simulator of Paystream's published API, for development and tests.

Imports nothing of OVN Pay: a misreading of the provider's documents in our client must not be repeated here.
"""
