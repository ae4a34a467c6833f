"""Paystream as its published API describes it: a stand-in provider for development and tests.

It imports nothing of OVN Pay's, so that a misreading of the provider's documents in our client cannot hide
behind the same misreading here.
"""
