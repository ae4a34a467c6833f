"""Canary: marked secrets pass through every route and every failure, and none is stored or logged.

Keys, passwords and bank details are in no log, metric, Redis key, message or error. Personal data of drivers is in no
log, and shown only by its routes. The table of the search is printed at the end.
"""

import itertools
import os
import re
import signal
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from gateway.routes import ROUTES
from tests.contract.canary import table
from tests.contract.canary_carrier import Canary
from tests.support.polling import until
from tests.support.report_lines import report
from tests.support.simulator import Simulator
from tests.support.stack import Stack

WRITES = r"POST /api/v1/(drivers|payouts|payouts/instant|batches|funding/topup|auth/login|developer/keys|webhooks/\w+)"


@contextmanager
def broken_database(stack: Stack) -> Iterator[None]:
    """Make the database reject every write while the block runs; its errors contain the row."""
    with psycopg.connect(stack["database_url"], autocommit=True) as owner:
        tables = [
            str(name)
            for (name,) in owner.execute("select tablename from pg_tables where tableowner = current_user").fetchall()
        ]
        try:
            for name in tables:  # each in a transaction of its own: services lock some tables
                owner.execute(f"alter table {name} add constraint canary check (false) not valid")
            yield
        finally:
            for name in tables:
                owner.execute(f"alter table {name} drop constraint if exists canary")


@contextmanager
def silent_redis(stack: Stack) -> Iterator[None]:
    """Stop Redis while the block runs."""
    pid = stack.pid("valkey")
    assert pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _files(folder: Path) -> Iterator[bytes]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield path.read_bytes()


def _database(stack: Stack) -> Iterator[bytes]:
    with psycopg.connect(stack["database_url"]) as owner:
        names = owner.execute("select tablename from pg_tables where schemaname = 'public'").fetchall()
        for (name,) in names:
            for (row,) in owner.execute(f"select {name}::text from {name}"):
                yield str(row).encode()


def _metrics(stack: Stack) -> Iterator[bytes]:
    for url in stack["metrics"].values():
        with urllib.request.urlopen(url) as answer:
            yield answer.read()


@pytest.fixture(scope="module")
def canary(fast_stack: Stack) -> Canary:
    """A carrier that has called every route with success and with errors."""
    canary = Canary(fast_stack)
    canary.everything_done_once()
    right = list(canary.sender.sent)
    canary.the_provider_fails(Simulator(fast_stack["paystream"]))
    quiet = ExitStack()
    quiet.enter_context(silent_redis(fast_stack))
    # No worker gets this driver before the database fails: the worker's error has its data.
    canary.sender.ask("POST /api/v1/drivers", canary.new_driver(), token=canary.key)
    before = len(canary.sender.responses)
    with quiet, broken_database(fast_stack):
        quiet.close()
        for route, piece in right:
            canary.sender.raw(route, piece, route.partition(" ")[0])
        until(lambda: "canary" in (fast_stack.home / "logs" / "workers.log").read_text(), "workers log the error")
    canary.rejected_by_the_database = canary.sender.responses[before:]
    canary.rejected_content()
    canary.sender.sweep({"key": canary.key, "session": canary.owner.token})
    canary.reset_and_sign_out()
    return canary


def test_every_secret_was_sent_to_every_route(canary: Canary) -> None:
    """Every route has had successes and errors, every secret was sent, and the database failed."""
    named = {f"{route.method} {route.path}" for route in ROUTES}
    successes = {response.route for response in canary.sender.responses if 0 < response.status < 400}
    errors = {response.route for response in canary.sender.responses if response.status >= 400}
    assert named - successes == set()
    assert named - errors - {"GET /", "GET /health", "GET /openapi.json", "GET /docs", "GET /docs/{file}"} == set()
    assert [one.name for one in canary.sender.secrets if one.pushed and canary.sender.times[one.name] < 1000] == []
    failed = {response.route for response in canary.rejected_by_the_database if response.status >= 500}
    assert failed >= {route for route, _ in canary.sender.sent if re.fullmatch(WRITES, route)}, failed
    assert not [
        response for response in canary.sender.responses if response.status == 0 and "hung up" not in response.route
    ]


def test_no_secret_is_stored_or_logged(canary: Canary, request: pytest.FixtureRequest) -> None:
    home = canary.stack.home
    places: dict[str, list[bytes]] = {
        "logs": list(_files(home / "logs")),
        "metrics": list(_metrics(canary.stack)),
        "Redis": list(_files(home / "valkey")),
        "errors": list(canary.sender.answers(errors=True)),
    }
    count = canary.sender.count
    found = {
        (secret.name, at): count(secret, texts) for secret in canary.sender.secrets for at, texts in places.items()
    }
    places |= {"successes": [], "database": list(_database(canary.stack))}
    for secret in canary.sender.secrets:
        others = list(canary.sender.answers(errors=False, of=secret))
        places["successes"] = max(places["successes"], others, key=len)
        found[secret.name, "successes"] = count(secret, others)
        if not secret.kept:
            found[secret.name, "database"] = count(secret, places["database"])
    rows: list[tuple[object, ...]] = [("secret", "sent", *places)]
    rows += [
        (
            secret.name,
            canary.sender.times[secret.name],
            *(found.get((secret.name, place), "shown") for place in places),
        )
        for secret in canary.sender.secrets
    ]
    rows.append(("bytes searched", "", *(sum(map(len, texts)) for texts in places.values())))
    lines = table(rows, lambda at: 32 if at == 0 else 11)
    report(f"{len(canary.sender.responses)} requests to {len(ROUTES)} routes", *lines)
    assert all(sum(map(len, texts)) > 1000 for texts in places.values())
    assert {at: count for at, count in found.items() if count} == {}, _where(canary, places)


def _where(canary: Canary, places: dict[str, list[bytes]]) -> str:
    """Return the first lines in which a secret was found."""
    hits = []
    for place, texts in places.items():
        for secret in canary.sender.secrets:
            if place == "successes":
                texts = list(canary.sender.answers(errors=False, of=secret))
            lines = itertools.chain.from_iterable(text.splitlines() for text in texts)
            hit = next((line for line in lines for form in secret.forms() if form in line), None)
            if hit is not None and not (place == "database" and secret.kept):
                hits.append(f"{place}: {secret.name}: {hit[:300]!r}")
    return "\n".join(hits)
