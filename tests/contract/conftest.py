"""Who the contract's stories are about, and at the end of a run, which samples of the reference they found served."""

from typing import Any

import pytest

from tests.contract.conformance import CONFORMED, SAMPLES, endpoint
from tests.support.customer import Customer
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


@pytest.fixture
def organization(fast_stack: Stack) -> Organization:
    """A carrier of this test's own, without money."""
    return Organization(fast_stack)


@pytest.fixture(scope="session")
def carrier_organization(fast_stack: Stack) -> Organization:
    """The carrier whose sandbox `carrier` uses."""
    return Organization(fast_stack)


@pytest.fixture(scope="session")
def carrier(carrier_organization: Organization) -> Customer:
    """A sandbox key of that carrier, with $100,000 in its wallet: here batches may stay queued, and payouts open."""
    carrier = carrier_organization.sandbox()
    carrier.fund(10_000_000)
    return carrier


@pytest.fixture(scope="session")
def production_carrier(carrier_organization: Organization) -> Customer:
    """A production key of that carrier, without money."""
    return carrier_organization.production()


@pytest.fixture(scope="session")
def three_drivers(carrier: Customer) -> list[str]:
    """Three verified drivers of `carrier`, the first of them the reference's John Smith."""
    drivers = [carrier.register(name)["id"] for name in ("John Smith", "Jane Doe", "Ann Bonus")]
    return [str(carrier.until_verified(driver_id)["id"]) for driver_id in drivers]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of several hands over which samples it found."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["conformed"] = {name: sorted(tests) for name, tests in CONFORMED.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes that over."""
    for name, tests in getattr(node, "workeroutput", {}).get("conformed", {}).items():
        CONFORMED[name] |= set(tests)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Each sample of the reference with the tests that found it served as it is shown; failed tests don't count."""
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
