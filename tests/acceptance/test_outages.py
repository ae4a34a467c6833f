"""A server is away, or its disk is full: what clients see meanwhile, that nothing is lost, and how soon all is well.

`make outages` has Redis away for a minute; here it is away for some seconds.
"""

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.client_load import ClientLoad, running_load
from tests.support.customer import Customer
from tests.support.fleet import Fleet, RunningProcess, running_fleet
from tests.support.polling import until
from tests.support.report_lines import report

pytestmark = pytest.mark.long

AWAY_SECONDS = float(os.environ.get("OVNPAY_TEST_OUTAGE_SECONDS", "8"))
DRAINED_SECONDS, BACK_SECONDS = 60, 10
DISK_MEGABYTES, BALLAST_LEAVES_BYTES = 192, 256 * 1024


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose PostgreSQL has a small disk of its own, where this machine lets us make one."""
    home = tmp_path_factory.mktemp("outages")
    disk = home / "postgres"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MEGABYTES}m,mode=0755", "tmpfs", str(disk)]
    mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    yield home
    if mounted:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.fixture(scope="module")
def system(small_disk: Path) -> Iterator[Fleet]:
    """The system on it, with every process of ours running."""
    settings = {
        "PAYSTREAM_SIM_STANDARD_SECONDS": "0.1",
        "OVNPAY_PAYSTREAM_TIMEOUT_SECONDS": "1",
        "OVNPAY_LEASE_SECONDS": "5",
    }
    with running_fleet(small_disk, **settings) as ours:
        started = [ours.begin(name) for name in ("workers", "scheduler", "gateway")]
        for process in started:
            process.wait_ready()
        yield ours


@pytest.fixture(scope="module")
def customer(system: Fleet) -> Customer:
    """Its sandbox key."""
    return system.customer()


@pytest.fixture(scope="module")
def driver_id(customer: Customer) -> str:
    """A verified driver."""
    return str(customer.verified_driver("Olga Outage")["id"])


@pytest.mark.timeout(240)
def test_redis_away(system: Fleet, customer: Customer, driver_id: str) -> None:
    with running_load([customer.url], customer, driver_id, "redis") as load:
        _some(load)
        # When Redis hangs for a while, and is then gone for as long again
        valkey = _server(system, "valkey")
        valkey.suspend()
        _for_a_while(load, AWAY_SECONDS / 2)
        valkey.resume()
        valkey.stop()
        _for_a_while(load, AWAY_SECONDS / 2)
        # Then every call has succeeded, about as fast as ever
        assert load.noticed == []
        assert not load.refused
        assert load.slowest(0.95) < 2
        slowest, requests = load.slowest(0.95), load.requests
        system.start("valkey")
    # and what has gathered meanwhile is paid once it is back, each payout once
    back_at = time.monotonic()
    load.assert_all_completed_once(customer, system.provider(), system.said["database_url"], DRAINED_SECONDS)
    report(
        f"Redis away for {AWAY_SECONDS:g} s: {load.told()}; {requests} requests meanwhile took {slowest:.3f} s (p95); "
        f"the backlog was paid {time.monotonic() - back_at:.1f} s after its return",
    )


@pytest.mark.timeout(240)
def test_postgres_away(system: Fleet, customer: Customer, driver_id: str) -> None:
    with running_load([customer.url], customer, driver_id, "postgres") as load:
        _some(load)
        # When Postgres dies, and stays away for some seconds
        _server(system, "postgres").kill()
        until(lambda: load.refused.total() > 5, "calls are refused")
        _refused_for_a_while(load, 3)
        system.start("postgres")
        back_at, paid = time.monotonic(), len(load.payout_ids)
        # Then calls succeed again by themselves
        until(lambda: len(load.payout_ids) > paid + 5, "payouts are accepted again", BACK_SECONDS)
        back_seconds = time.monotonic() - back_at
    # and no client saw anything but 503 with a Retry-After; repeated under their keys, all were paid once
    assert load.noticed == []
    load.assert_all_completed_once(customer, system.provider(), system.said["database_url"], DRAINED_SECONDS)
    report(f"Postgres away: {load.told()}; payouts were accepted {back_seconds:.1f} s after its return")


@pytest.mark.timeout(240)
def test_disk_full(system: Fleet, small_disk: Path, customer: Customer, driver_id: str) -> None:
    disk = small_disk / "postgres"
    if not disk.is_mount():
        why = "NOT TESTED: a full disk. This machine lets nobody mount a small one (mount -t tmpfs needs root)"
        report(why)
        assert "OVNPAY_TEST_EVERYTHING" not in os.environ, why
        return
    with running_load([customer.url], customer, driver_id, "disk") as load:
        _some(load)
        # When Postgres's disk is full, PostgreSQL refuses, or panics when it needs room for its log and can't restart
        free_bytes = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        with suppress(OSError):  # it has less by now: full all the same
            (disk / "ballast").write_bytes(b"\0" * max(free_bytes - BALLAST_LEAVES_BYTES, 0))
        until(lambda: load.refused.total() > 10, "calls are refused", 60)
        refused = load.refused.total()
        # and there is room again
        (disk / "ballast").unlink()
        back_at, paid = time.monotonic(), len(load.payout_ids)
        until(lambda: _up_again(system) and len(load.payout_ids) > paid + 5, "payouts are accepted again", 60)
        back_seconds = time.monotonic() - back_at
    # Then no client saw anything but 503 with a Retry-After, and nothing is lost
    assert load.noticed == []
    load.assert_all_completed_once(customer, system.provider(), system.said["database_url"], DRAINED_SECONDS)
    report(
        f"disk full: {load.told()} ({refused} while it was); payouts accepted {back_seconds:.1f} s after there was room"
    )


def _server(system: Fleet, name: str) -> RunningProcess:
    return next(one for one in reversed(system.running) if one.name == name)


def _up_again(system: Fleet) -> bool:
    """Starts PostgreSQL again if it has ended, as its supervisor does."""
    if _server(system, "postgres").process.poll() is not None:
        system.begin("postgres")
        return False
    return True


def _some(load: ClientLoad) -> None:
    until(lambda: len(load.payout_ids) > 10, "payouts are accepted")


def _for_a_while(load: ClientLoad, seconds: float) -> None:
    """Until so much time has passed under load, in which payouts were accepted."""
    until_at, paid = time.monotonic() + seconds, len(load.payout_ids)
    until(lambda: time.monotonic() > until_at and len(load.payout_ids) > paid, "payouts are accepted", seconds + 20)


def _refused_for_a_while(load: ClientLoad, seconds: float) -> None:
    until_at, refused = time.monotonic() + seconds, load.refused.total()
    until(lambda: time.monotonic() > until_at and load.refused.total() > refused, "calls are refused", seconds + 20)
