"""`ovnpay` as a client of the public API: pay a file, and look at payouts, batches, events and the balance.

It needs a URL and an API key. It imports nothing else of this project and could be a package of its own.
"""
