"""Customer events and their webhooks: written with the change they report, delivered at least once, signed.

`customer_events` writes events and their deliveries in the caller's transaction. `claim` leases due deliveries to a
worker, `sender` calls the endpoints, `delivery_results` records how the calls ended and pauses endpoints.
Owns `customer_events`, `webhook_endpoints` and `webhook_deliveries`. Locks an endpoint before its deliveries, each in
id order; creating an endpoint takes an advisory lock on the wallet's endpoints.
"""
