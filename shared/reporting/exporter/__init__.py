"""The exporter: what is in the database and in Redis, as gauges; one process for the whole installation.

Every other process counts what it does itself. What is there belongs to none of them: two gateways would both say how
many payouts wait, and none would, once they are all dead.
"""

from shared.platform import unused_imports as unused_imports
