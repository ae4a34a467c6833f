"""Customer events and their webhooks: written with the change they report, delivered at least once, signed.

`customer_events` writes events and deliveries in the caller's transaction, `claim` leases due deliveries to a worker,
`sender` calls the endpoints, `delivery_results` records the results and pauses endpoints. Owns `customer_events`,
`webhook_endpoints` and `webhook_deliveries`; locks endpoints before their deliveries, each in id order.
"""
