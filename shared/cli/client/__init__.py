"""`ovnpay` as a client of the public API. It imports nothing else of this project: it could be its own package."""
