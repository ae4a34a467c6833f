"""The number of database connections of each process, under load."""

import uuid
from collections import Counter
from urllib.request import urlopen

import psycopg

from tests.support.concurrent_clients import post_all
from tests.support.customer import Customer
from tests.support.stack import Stack

POOLS = {"gateway": 5, "gateway-intake": 4, "gateway-keys": 1, "workers": 7, "scheduler": 7, "exporter": 1}
"""The documented maximum of a process with default settings. The gateway's pools add up to OVNPAY_DATABASE_POOL_SIZE; a
worker process has one connection per thread and one more."""


def test_no_process_opens_more_connections_than_documented(stack: Stack, customer: Customer) -> None:
    driver_id = str(customer.verified_driver("Cora Connection")["id"])
    run = uuid.uuid4().hex
    most: Counter[str] = Counter()
    urlopen(stack["metrics"]["exporter"], timeout=30).close()  # it connects at the first scrape
    with psycopg.connect(stack["database_url"], autocommit=True) as connection:
        for round_ in range(5):
            requests = [
                (
                    {"driverId": driver_id, "amount": 100, "urgency": "standard" if number % 3 else "instant"},
                    f"{run}-{round_}-{number}",
                )
                for number in range(40)
            ]
            post_all(customer, "/api/v1/payouts", requests, clients=40)
            rows = connection.execute(
                "SELECT application_name, count(*) FROM pg_stat_activity"
                " WHERE application_name LIKE 'ovnpay-%' AND datname = current_database() GROUP BY 1"
            ).fetchall()
            most |= Counter({str(name).removeprefix("ovnpay-"): int(count) for name, count in rows})
    assert {name: count for name, count in most.items() if count > POOLS.get(name, 0)} == {}
    assert set(most) == set(POOLS)
