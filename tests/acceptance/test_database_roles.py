"""Running services connect to the database with their own role, never as the owner."""

import psycopg

from tests.support.customer import Customer
from tests.support.stack import Stack


def test_every_service_connects_with_the_services_role(stack: Stack, customer: Customer) -> None:
    # Given a system that has just completed a payout
    driver_id = customer.verified_driver()["id"]
    customer.until_payout(customer.pay(driver_id, 45_000)["id"], "completed")
    # When the connections are listed
    with psycopg.connect(stack["database_url"]) as connection:
        rows = connection.execute(
            "select application_name, usename from pg_stat_activity where application_name like 'ovnpay-%'"
        ).fetchall()
    # Then every service is connected, with the role that can't change the ledger
    assert {name for name, _ in rows} >= {"ovnpay-gateway-intake", "ovnpay-gateway-keys", "ovnpay-workers"}
    assert {role for _, role in rows} == {"ovnpay_app"}
