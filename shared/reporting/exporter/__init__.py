"""The exporter: the state of the database and of Redis as Prometheus gauges, from one process per installation.

Other processes count what they do themselves; state belongs to none of them: two gateways would each report the same
waiting payouts, and none would report them while all are down. Reads only; owns no table and takes no lock.
"""

from shared.platform import process_memory as process_memory
