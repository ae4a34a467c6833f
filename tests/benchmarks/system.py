"""The system that is measured: started as `make up` starts it, with production's settings, on a disk that is one.

Three settings are not production's: the key's rate limit (1,000,000 a minute, still counted in Redis for each
request), the provider's hourly limit (off, or 1,000 calls an hour would be what is measured), and that everything is on
one machine. Postgres commits durably; that is asserted, not assumed.
"""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import sqlalchemy as sa

from shared.platform.database import make_engine
from shared.platform.ids import DRIVER, parse_id
from shared.platform.settings import Settings
from tests.support.customer import Customer
from tests.support.polling import until
from tests.support.simulator import Simulator
from tests.support.stack import Stack, descendants_of, running_stack

PROJECT = Path(__file__).resolve().parents[2]
SETTINGS = {
    # `make up` asks the provider after seconds; these are the defaults, as in production.
    "OVNPAY_POLL_AFTER_INSTANT_SECONDS": "60",
    "OVNPAY_POLL_AFTER_SAME_DAY_SECONDS": "28800",
    "OVNPAY_POLL_AFTER_STANDARD_SECONDS": "345600",
    "OVNPAY_PAYSTREAM_TIMEOUT_SECONDS": "10",
    "OVNPAY_LEASE_SECONDS": "30",
    "OVNPAY_PAYSTREAM_REQUESTS_PER_HOUR": "0",
    "OVNPAY_RATE_LIMIT_PER_MINUTE": "1000000",
    # The provider settles at once: the system is measured, not the provider.
    "PAYSTREAM_SIM_STANDARD_SECONDS": "0.05",
    "PAYSTREAM_SIM_RTP_SECONDS": "0.05",
    "PAYSTREAM_SIM_ACH_TOPUP_SECONDS": "0.2",
    "PAYSTREAM_SIM_STARTING_BALANCE_CENTS": str(10**15),
    # And sends webhooks fast: 16 concurrent deliveries, each waiting for its commit, were the bottleneck.
    "PAYSTREAM_SIM_WEBHOOK_CONCURRENCY": "128",
}
DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
AMOUNT_CENTS = 1_000
MONEY_CENTS = 10**12
"""The funds of the wallet; every payout of a benchmark is `AMOUNT_CENTS`."""
DRIVERS = 50
PATIENCE_SECONDS = 120.0
"""For the steps before a measurement."""
_SERVICES = ("gateway", "workers", "scheduler", "paystream", "postgres", "valkey")


class System:
    """A running system with a funded customer and drivers."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.customer = Customer(stack["gateway"], stack["sandbox_key"])
        self.provider = Simulator(stack["paystream"])
        self._others: dict[str, list[int]] = {}
        """Additional processes of a service."""
        self.served_payouts = 0
        """Payouts that benchmarks have seen completed."""
        with self.database() as database:
            for name, wanted in DURABLE.items():
                [found] = database.execute(f"SHOW {name}").fetchone() or [None]
                assert found == wanted, f"{name} is {found}: nothing that is measured would be true"

    @cached_property
    def drivers(self) -> list[str]:
        """Verified drivers; funds the wallet too."""
        self.customer.post("/api/v1/funding/topup", {"amount": MONEY_CENTS, "method": "bank_transfer"}).data  # noqa: B018
        until(lambda: self.customer.available_cents() >= MONEY_CENTS, "the money is there", PATIENCE_SECONDS)
        people = [
            {"ovnDriverId": f"BENCH-{number}", "name": f"Driver {number}", "email": f"driver{number}@bench.example"}
            for number in range(DRIVERS)
        ]
        data = self.customer.post("/api/v1/drivers/bulk", {"drivers": people}).data
        ids = [result["item"]["id"] for result in data["results"]]
        wanted = set(ids)
        until(
            lambda: wanted <= {item["id"] for item in self.customer.items("/api/v1/drivers", status="active")},
            "the drivers are verified",
            PATIENCE_SECONDS,
        )
        return ids

    @cached_property
    def wallet_id(self) -> Any:
        """The id of the customer's wallet."""
        with self.database() as database:
            found = database.execute("SELECT wallet_id FROM drivers WHERE id = %s", [parse_id(DRIVER, self.drivers[0])])
            [wallet_id] = found.fetchone() or [None]
        return wallet_id

    @contextmanager
    def database(self) -> Iterator["psycopg.Connection[Any]"]:
        """Connect to the database as its owner."""
        with psycopg.connect(self.stack["database_url"], autocommit=True) as connection:
            connection.execute("SET statement_timeout = 0")
            yield connection

    @contextmanager
    def engine(self, pool_size: int = 2, database: str | None = None) -> Iterator[sa.Engine]:
        """Return an engine of the product for it, or for another database of the server."""
        url = sa.make_url(self.stack["database_url"]).set(drivername="postgresql")
        url = url.set(database=database) if database else url
        text = url.render_as_string(hide_password=False)
        engine = make_engine(Settings(database_url=text, redis_url=""), "bench", pool_size=pool_size)
        try:
            yield engine
        finally:
            engine.dispose()

    def count(self, name: str = "payouts:completed") -> int:
        """Return a counter of the wallet."""
        with self.database() as database:
            return self.count_by(database, name)

    def count_by(self, database: "psycopg.Connection[Any]", name: str = "payouts:completed") -> int:
        """Return a counter on an open connection."""
        found = database.execute(
            "SELECT count FROM list_counts WHERE wallet_id = %s AND name = %s", [self.wallet_id, name]
        ).fetchone()
        return int(found[0]) if found else 0

    def until_idle(self, seconds: float = 900) -> None:
        """Wait until no payout is open and no webhook pending."""
        on_the_way = "SELECT EXISTS (SELECT FROM payouts WHERE next_action_at IS NOT NULL AND batch_id IS NULL)"
        with self.database() as database:
            until(
                lambda: not (database.execute(on_the_way).fetchone() or [True])[0], "none is on its way", seconds, 0.2
            )
        until(self.provider.webhooks_settled, "all webhooks have come", PATIENCE_SECONDS)

    def pids(self, name: str) -> list[int]:
        """Return the processes of a service, the parent first."""
        tops = [pid for pid in (self.stack.pid(name), *self._others.get(name, ())) if pid is not None]
        return [pid for top in tops for pid in (top, *descendants_of(top))]

    @contextmanager
    def suspended(self, *names: str) -> Iterator[None]:
        """Suspend services while the block runs, without open transactions: these would keep every old row version."""
        pids = [pid for name in names for pid in self.pids(name)]
        sessions = [f"ovnpay-{name}" for name in names]
        held = "SELECT FROM pg_stat_activity WHERE application_name = ANY(%s) AND xact_start IS NOT NULL"

        def stopped() -> bool:
            _signal(pids, signal.SIGSTOP)
            if database.execute(held, [sessions]).fetchone() is None:
                return True
            _signal(pids, signal.SIGCONT)
            return False

        with self.database() as database:
            until(stopped, f"{', '.join(names)} are between two transactions", PATIENCE_SECONDS, 0.02)
        try:
            yield
        finally:
            _signal(pids, signal.SIGCONT)

    def cpu_seconds(self) -> dict[str, float]:
        """Return the CPU seconds of each service."""
        ticks = os.sysconf("SC_CLK_TCK")
        spent = {}
        for name in _SERVICES:
            total = 0
            for pid in self.pids(name):
                try:
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue  # it has ended
                # Of the process and of its ended children (like backends of Postgres).
                total += sum(map(int, fields[11:15])) if pid == self.stack.pid(name) else sum(map(int, fields[11:13]))
            spent[name] = total / ticks
        return spent

    @contextmanager
    def another(self, service: str) -> Iterator[str]:
        """Run another gateway or worker master with the environment of the first; yield its URL."""
        pid = until(lambda: self.stack.pid(service), f"{service} runs")
        lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        pairs = (line.partition(b"=") for line in lines)
        environment = {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs if name}
        environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
        metrics_port, port = _free_port(), _free_port()
        environment |= {f"OVNPAY_{service.upper()}_METRICS_PORT": str(metrics_port), "OVNPAY_GATEWAY_PORT": str(port)}
        probe = f"http://127.0.0.1:{port if service == 'gateway' else metrics_port}"
        path = self.stack.home / "logs" / f"{service}-2.log"
        log = path.open("ab")
        command = [sys.executable, "-m", service]
        with log, subprocess.Popen(command, env=environment, cwd=PROJECT, stdout=log, stderr=log) as process:
            self._others.setdefault(service, []).append(process.pid)
            try:
                until(lambda: process.poll() is not None or _healthy(probe), f"{service} is ready", PATIENCE_SECONDS)
                assert process.poll() is None, f"the second {service} ended: {path.read_text()[-2000:]}"
                yield probe
            finally:
                self._others[service].remove(process.pid)
                process.terminate()
                process.wait(40)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        os.kill(pid, number)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _healthy(url: str) -> bool:
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def running_system(**settings: str) -> Iterator[System]:
    """Run a system on the project's disk: commits to a memory file system would not be real."""
    folder = PROJECT / "bench"
    folder.mkdir(exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="home-", dir=folder))
    with running_stack(home, **(SETTINGS | settings)) as stack:
        yield System(stack)
    for _ in range(20):
        shutil.rmtree(home, ignore_errors=True)
        if not home.exists():
            return
        time.sleep(0.1)
