"""The running systems that several tiers share, the groups that tests run in, and what a run reports at its end."""

from collections import defaultdict
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.customer import Customer
from tests.support.report_lines import TOLD, everything
from tests.support.signals import catch_ignored_signals
from tests.support.stack import FAST, Stack, running_stack

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """OVN Pay as `ovnpay up` starts it, with default settings."""
    yield from _until_group_ends("stack", running_stack(tmp_path_factory.mktemp("stack")))


@pytest.fixture(scope="session")
def fast_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """OVN Pay with short timeouts and leases, and a provider that settles within 0.1 s.

    Its tests have organizations of their own, whose wallets they may empty, reset, and leave with open payouts.
    """
    yield from _until_group_ends("fast_stack", running_stack(tmp_path_factory.mktemp("fast"), **FAST))


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


RUNNING: dict[str, ExitStack] = {}
"""The systems that run, by their groups."""


def _until_group_ends(group: str, system: AbstractContextManager[Stack]) -> Iterator[Stack]:
    with ExitStack() as stopping:
        RUNNING[group] = stopping
        yield stopping.enter_context(system)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None]:
    """Stop a shared system after the last test of its group: even an idle one takes a tenth of a core."""
    yield
    if nextitem is not None and (group := _group_of(item)) != _group_of(nextitem) and group in RUNNING:
        RUNNING.pop(group).close()


def _group_of(item: pytest.Item) -> str:
    return str(next(item.iter_markers("xdist_group")).args[0])


def pytest_configure(config: pytest.Config) -> None:
    """Give child processes the default signal dispositions."""
    catch_ignored_signals()


SYSTEMS = ("fast_stack", "stack")
"""The fixtures that run a whole system for a session, and the groups of the tests that use them."""
LONGEST = (
    "chaos/test_short_run",
    "acceptance/test_restore",
    "acceptance/test_crash_points",
    "acceptance/test_rolling_restart",
    "acceptance/test_outages",
    "acceptance/test_old_and_new_code",
    "acceptance/test_thousand_payouts",
    "integration/test_model",
    "integration/local/test_local_stack",
)
"""Files that take longest of those that use no shared system, the longest first."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests that share a running system, and begin with the longest groups.

    With `--dist loadgroup` a group stays in one process, so each system starts once in a run; and no process waits at
    the end for a long group in another one.
    """
    fixtures: dict[Path, set[str]] = defaultdict(set)
    for item in items:
        fixtures[item.path] |= set(getattr(item, "fixturenames", ()))
    groups = {path: _group(path, names) for path, names in fixtures.items()}
    first = [*SYSTEMS, *LONGEST]
    for item in items:
        item.add_marker(pytest.mark.xdist_group(groups[item.path]))
    items.sort(key=lambda item: first.index(group) if (group := groups[item.path]) in first else len(first))


def _group(path: Path, fixtures: set[str]) -> str:
    """The running system that a file uses, or the file."""
    name = path.relative_to(HERE).with_suffix("").as_posix()
    uses = [system for system in SYSTEMS if system in fixtures and not name.startswith("integration/")]
    return uses[0] if uses else name


OF_OTHERS: list[list[str]] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the report lines of an xdist process to the one that prints them."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["told"] = TOLD


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep the report lines of an xdist process."""
    OF_OTHERS.append(getattr(node, "workeroutput", {}).get("told", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the report lines of all processes."""
    for line in everything(OF_OTHERS):
        terminalreporter.write_line(line)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of the systems that a failed test used."""
    report = yield
    if report.failed and report.when == "call":
        for value in getattr(item, "funcargs", {}).values():
            if isinstance(value, Stack):
                report.sections.append((f"logs of {value.home}", value.logs()))
    return report
