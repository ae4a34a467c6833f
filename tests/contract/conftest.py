"""Who the contract's stories are about: a verified driver in each wallet."""

from typing import Any

import pytest

from tests.acceptance.customer import Customer


@pytest.fixture(scope="session")
def driver_id(customer: Customer) -> str:
    """A verified driver of the sandbox wallet."""
    return str(customer.verified_driver("Jane Doe")["id"])


@pytest.fixture(scope="session")
def production_driver(production: Customer) -> Any:
    """A verified driver of the production wallet."""
    return production.verified_driver("Pedro Prod")
