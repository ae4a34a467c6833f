"""The system for the stories where something breaks: it notices within seconds what would take minutes."""

from collections.abc import Iterator

import pytest

from tests.support.customer import Customer
from tests.support.simulator import Provider
from tests.support.stack import Stack, running_stack


@pytest.fixture(scope="session")
def impatient_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """OVN Pay with short time-outs and leases. Paystream holds a call that it never answers for a little longer."""
    settings = {
        "OVNPAY_PAYSTREAM_TIMEOUT_SECONDS": "1.0",
        "OVNPAY_LEASE_SECONDS": "5",
        "PAYSTREAM_SIM_FAULT_TIMEOUT_SECONDS": "2.0",
    }
    with running_stack(tmp_path_factory.mktemp("impatient"), **settings) as running:
        yield running


@pytest.fixture(scope="session")
def impatient_customer(impatient_stack: Stack) -> Customer:
    """The sandbox key of `impatient_stack`, with $100,000 of the tests' own in its wallet."""
    customer = Customer(impatient_stack["gateway"], impatient_stack["sandbox_key"])
    customer.fund(10_000_000)
    return customer


@pytest.fixture(scope="session")
def impatient_driver_id(impatient_customer: Customer) -> str:
    """A verified driver of `impatient_customer`."""
    return str(impatient_customer.verified_driver("Jane Doe")["id"])


@pytest.fixture(scope="session")
def paystream(impatient_stack: Stack) -> Provider:
    """The control of the Paystream that `impatient_stack` talks to."""
    return Provider(impatient_stack["paystream"])
