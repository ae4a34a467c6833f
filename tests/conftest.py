"""The running systems that acceptance and contract tests share, and their logs beside each failure."""

from collections.abc import Generator, Iterator
from typing import Any

import pytest

from tests.support.customer import Customer
from tests.support.report_lines import TOLD, everything
from tests.support.stack import Stack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """OVN Pay as `ovnpay up` starts it, with default settings."""
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running


@pytest.fixture(scope="session")
def customer(stack: Stack) -> Customer:
    """The sandbox key of `stack`, with $100,000 of the tests' own in its wallet."""
    customer = Customer(stack["gateway"], stack["sandbox_key"])
    customer.fund(10_000_000)
    return customer


@pytest.fixture(scope="session")
def production(stack: Stack) -> Customer:
    """The production key of `stack`, with $7,000 in its wallet."""
    production = Customer(stack["gateway"], stack["production_key"])
    production.fund(700_000)
    return production


LONG = (
    "acceptance/test_crash_points.py",
    "contract/test_schemathesis.py",
    "chaos/test_short_run.py",
    "acceptance/test_rolling_restart.py",
    "acceptance/test_outages.py",
    "acceptance/test_everything_killed.py",
    "contract/test_isolation.py",
    "integration/test_model.py",
    "contract/test_canary.py",
)
"""Files that take minutes, the longest first: where one of them came last, one process would wait for it alone."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the long files, for whoever runs several at a time (with --no-loadscope-reorder)."""

    def place(item: pytest.Item) -> int:
        path = item.path.as_posix()
        return next((place for place, name in enumerate(LONG) if path.endswith(name)), len(LONG))

    items.sort(key=place)


OF_OTHERS: list[list[str]] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process of several hands over what its tests have to tell."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["told"] = TOLD


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Takes that over."""
    OF_OTHERS.append(getattr(node, "workeroutput", {}).get("told", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints it."""
    for line in everything(OF_OTHERS):
        terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and report.when == "call":
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Stack):
                report.sections.append((f"logs of {value.home}", value.logs()))
    return report
