"""The running services are at the database as their own role, and none of them as the owner."""

import psycopg

from tests.support.customer import Customer
from tests.support.stack import Stack


def test_every_service_is_at_the_database_as_the_services_role(stack: Stack, customer: Customer) -> None:
    # Given a system that has just paid somebody
    driver_id = customer.verified_driver()["id"]
    customer.until_payout(customer.pay(driver_id, 45_000)["id"], "completed")
    # When the database is asked who is connected
    with psycopg.connect(stack["database_url"]) as connection:
        rows = connection.execute(
            "select application_name, usename from pg_stat_activity where application_name like 'ovnpay-%'"
        ).fetchall()
    # Then all of the services are, each as the role that can't change the ledger
    assert {name for name, _ in rows} >= {"ovnpay-gateway-intake", "ovnpay-gateway-keys", "ovnpay-workers"}
    assert {role for _, role in rows} == {"ovnpay_app"}
