"""The running systems that several tiers share, the groups that tests run in, and what a run reports at its end."""

import os
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.customer import Customer
from tests.support.grouping import GroupScheduling, file_of, groups_file, groups_of, rank, write_groups
from tests.support.report_lines import LINES, all_lines
from tests.support.signals import catch_ignored_signals
from tests.support.stack import FAST, Stack, running_stack

GROUP = pytest.StashKey[str]()


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
    if nextitem is not None and (group := item.stash[GROUP]) != nextitem.stash[GROUP] and group in RUNNING:
        RUNNING.pop(group).close()


def pytest_configure(config: pytest.Config) -> None:
    """Give child processes the default signal dispositions."""
    catch_ignored_signals()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the tests of a group behind each other, the longest groups first."""
    groups = groups_of(items)
    for item in items:
        item.stash[GROUP] = groups[file_of(item.nodeid)]
    items.sort(key=lambda item: rank(item.stash[GROUP]))
    if (received := getattr(config, "workerinput", None)) is not None:
        write_groups(Path(received["groups_file"]), groups)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell an xdist process where to write the groups."""
    node.workerinput["groups_file"] = str(groups_file(os.getpid()))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep groups together under `--dist loadscope`."""
    return GroupScheduling(config, log) if config.getoption("dist") == "loadscope" else None


OF_OTHERS: list[list[str]] = []


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the report lines of an xdist process to the one that prints them."""
    if (output := getattr(session.config, "workeroutput", None)) is not None:
        output["report_lines"] = LINES
    else:
        groups_file(os.getpid()).unlink(missing_ok=True)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Keep the report lines of an xdist process."""
    OF_OTHERS.append(getattr(node, "workeroutput", {}).get("report_lines", []))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the report lines of all processes."""
    for line in all_lines(OF_OTHERS):
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
