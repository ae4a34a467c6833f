"""A driver's bank account is passed on to Paystream; only its last four digits are stored."""

import json

import psycopg

from tests.support.customer import Customer
from tests.support.http_client import call
from tests.support.polling import until
from tests.support.stack import Stack

ACCOUNT = {"accountNumber": "000987654321", "routingNumber": "021000021", "accountType": "savings"}
IDENTITY = {
    "firstName": "Ada",
    "lastName": "Driver",
    "dateOfBirth": "1980-05-17",
    "address": {"line1": "1 Main St", "city": "Omaha", "state": "NE"},
}


def test_bank_account_reaches_paystream_and_is_not_stored(stack: Stack, customer: Customer) -> None:
    # Given a verified driver
    driver = customer.verified_driver("Ada Driver")
    # When the carrier sends the account and identity
    path = f"/api/v1/drivers/{driver['id']}"
    body = b'{"bankAccount": %s, "identity": %s}' % (_json(ACCOUNT), _json(IDENTITY))
    answer = call(customer.url, "PUT", path, body, customer.headers)
    assert answer.status == 200, answer
    # Then the driver is verified again, has the last four digits, and can be paid
    until(lambda: customer.get(path).data["bankAccountLast4"] == "4321", "Paystream has the account")
    customer.until_verified(driver["id"])
    customer.until_payout(customer.pay(driver["id"], 45_000)["id"], "completed")
    # And the database does not contain the number
    with psycopg.connect(stack["database_url"]) as database:
        rows = database.execute("select drivers::text from drivers").fetchall()
    assert not [row for row in rows if "987654321" in row[0]]


def test_identity_without_account_is_rejected(customer: Customer) -> None:
    # Given a driver
    driver_id = customer.register()["id"]
    # When an identity is sent without an account
    body = b'{"identity": %s}' % _json(IDENTITY)
    answer = call(customer.url, "PUT", f"/api/v1/drivers/{driver_id}", body, customer.headers)
    # Then the response names the missing field
    assert (answer.status, answer.error["details"]["field"]) == (400, "bankAccount")


def _json(value: object) -> bytes:
    return json.dumps(value).encode()
