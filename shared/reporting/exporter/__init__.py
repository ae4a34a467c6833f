"""The exporter: the state of the database and Redis as metrics, from one process per installation.

Other processes count what they do; state belongs to none of them. It owns no table and takes no lock.
"""

from shared.platform import process_memory as process_memory
