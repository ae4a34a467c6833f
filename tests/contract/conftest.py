"""Customers of contract tests, and the summary of the API reference samples that a run has covered."""

from typing import Any

import pytest

from tests.contract.conformance import CONFORMED, SAMPLES, endpoint
from tests.support.customer import Customer
from tests.support.dates import wait_out_midnight
from tests.support.organization import Organization
from tests.support.stack import Stack


@pytest.fixture(scope="session")
def driver_id(customer: Customer) -> str:
    """A verified driver of the sandbox wallet."""
    return str(customer.verified_driver("Jane Doe")["id"])


@pytest.fixture(scope="session")
def production_driver(production: Customer) -> Any:
    """A verified driver of the production wallet."""
    return production.verified_driver("Pedro Prod")


@pytest.fixture(scope="module")
def one_date() -> None:
    """The tests of a module that calculates with dates don't run over midnight UTC."""
    wait_out_midnight()


@pytest.fixture
def organization(fast_stack: Stack) -> Organization:
    """An organization for one test, without money."""
    return Organization(fast_stack)


@pytest.fixture(scope="session")
def carrier_organization(fast_stack: Stack) -> Organization:
    """The organization of `carrier`."""
    return Organization(fast_stack)


@pytest.fixture(scope="session")
def carrier(carrier_organization: Organization) -> Customer:
    """A sandbox key with $100,000 in its wallet, in which batches and payouts may stay open."""
    carrier = carrier_organization.sandbox()
    carrier.fund(10_000_000)
    return carrier


@pytest.fixture(scope="session")
def production_carrier(carrier_organization: Organization) -> Customer:
    """A production key of the same organization, without money."""
    return carrier_organization.production()


@pytest.fixture(scope="session")
def three_drivers(carrier: Customer) -> list[str]:
    """Three verified drivers of `carrier`, the first one the John Smith of the API reference."""
    drivers = [carrier.register(name)["id"] for name in ("John Smith", "Jane Doe", "Ann Bonus")]
    return [str(carrier.until_verified(driver_id)["id"]) for driver_id in drivers]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the covered samples of an xdist process to the one that prints them."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["conformed"] = {name: sorted(tests) for name, tests in CONFORMED.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep the covered samples of an xdist process."""
    for name, tests in getattr(node, "workeroutput", {}).get("conformed", {}).items():
        CONFORMED[name] |= set(tests)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print each sample of the API reference with the passed tests that found a matching response."""
    failed = {report.nodeid for report in terminalreporter.stats.get("failed", [])}
    covered = {name: sorted(CONFORMED[name] - failed) for name in SAMPLES if CONFORMED[name] - failed}
    if not covered:
        return
    rows = [("sample", "endpoint", "covered by")]
    rows += [
        (name, endpoint(name), ", ".join(test.rpartition("/")[2].replace("::", " ") for test in tests))
        for name, tests in covered.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    terminalreporter.section(f"{len(covered)} of the reference's {len(SAMPLES)} samples covered")
    for name, heading, tests in rows:
        terminalreporter.write_line(f"{name:{widths[0]}}  {heading:{widths[1]}}  {tests}")
    if missing := [name for name in SAMPLES if name not in covered]:
        terminalreporter.write_line(f"Not in this run: {', '.join(missing)}.")
