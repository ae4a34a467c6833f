"""A customer with money, a verified driver, and the provider simulator of `fast_stack`."""

import pytest

from tests.support.customer import Customer
from tests.support.simulator import Simulator
from tests.support.stack import Stack


@pytest.fixture(scope="session")
def fast_customer(fast_stack: Stack) -> Customer:
    """The sandbox key of `fast_stack`, with at least $100,000 in its wallet."""
    customer = Customer(fast_stack["gateway"], fast_stack["sandbox_key"])
    customer.fund(10_000_000)
    return customer


@pytest.fixture(scope="session")
def fast_driver_id(fast_customer: Customer) -> str:
    """A verified driver of `fast_customer`."""
    return str(fast_customer.verified_driver("Jane Doe")["id"])


@pytest.fixture(scope="session")
def paystream(fast_stack: Stack) -> Simulator:
    """The control endpoints of the simulator that `fast_stack` calls."""
    return Simulator(fast_stack["paystream"])
