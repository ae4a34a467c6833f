"""Outages of Redis, of Postgres, and of its disk space: what clients see, that nothing is lost, and the recovery time.

`make outages` takes Redis away for a minute; here it is away for some seconds.
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
    """A home with a small disk for PostgreSQL, if this machine allows the mount."""
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
    """The system on that disk, with every process running."""
    settings = {
        "PAYSTREAM_SIM_STANDARD_SECONDS": "0.1",
        "OVNPAY_PAYSTREAM_TIMEOUT_SECONDS": "1",
        "OVNPAY_LEASE_SECONDS": "5",
    }
    with running_fleet(small_disk, **settings) as ours:
        started = [ours.start_without_waiting(name) for name in ("workers", "scheduler", "gateway")]
        for process in started:
            process.wait_ready()
        yield ours


@pytest.fixture(scope="module")
def customer(system: Fleet) -> Customer:
    """The customer of its sandbox key."""
    return system.customer()


@pytest.fixture(scope="module")
def driver_id(customer: Customer) -> str:
    """A verified driver."""
    return str(customer.verified_driver("Olga Outage")["id"])


@pytest.mark.timeout(600)
def test_redis_outage_fails_no_request_and_loses_no_payout(system: Fleet, customer: Customer, driver_id: str) -> None:
    with running_load([customer.url], customer, driver_id, "redis") as load:
        _until_payouts(load)
        # When Redis hangs for a while, and is then down for as long
        valkey = _server(system, "valkey")
        valkey.suspend()
        _accepted_during(load, AWAY_SECONDS / 2)
        valkey.resume()
        valkey.stop()
        _accepted_during(load, AWAY_SECONDS / 2)
        # Then every request has succeeded, without a timeout
        assert load.errors == []
        assert not load.refused
        assert load.slowest(0.95) < 2
        slowest, requests = load.slowest(0.95), load.requests
        system.start("valkey")
    # and the backlog is paid after the recovery, each payout once
    back_at = time.monotonic()
    load.assert_all_completed_once(customer, system.simulator(), system.description["database_url"], DRAINED_SECONDS)
    report(
        f"Redis away for {AWAY_SECONDS:g} s: {load.summary()}; {requests} requests in {slowest:.3f} s (p95); "
        f"backlog paid {time.monotonic() - back_at:.1f} s after the recovery",
    )


@pytest.mark.timeout(600)
def test_postgres_outage_is_answered_503_and_loses_no_payout(system: Fleet, customer: Customer, driver_id: str) -> None:
    with running_load([customer.url], customer, driver_id, "postgres") as load:
        _until_payouts(load)
        # When Postgres is killed, and down for some seconds
        _server(system, "postgres").kill()
        until(lambda: load.refused.total() > 5, "requests are answered 503")
        _refused_during(load, 3)
        system.start("postgres")
        back_at, paid = time.monotonic(), len(load.payout_ids)
        # Then requests succeed again
        until(lambda: len(load.payout_ids) > paid + 5, "payouts are accepted again", BACK_SECONDS)
        back_seconds = time.monotonic() - back_at
    # and clients saw only 503 with a Retry-After; repeated with their keys, all were paid once
    assert load.errors == []
    load.assert_all_completed_once(customer, system.simulator(), system.description["database_url"], DRAINED_SECONDS)
    report(f"Postgres away: {load.summary()}; payouts accepted {back_seconds:.1f} s after the recovery")


@pytest.mark.timeout(600)
def test_full_disk_is_answered_503_and_loses_no_payout(
    system: Fleet, small_disk: Path, customer: Customer, driver_id: str
) -> None:
    disk = small_disk / "postgres"
    if not disk.is_mount():
        why = "NOT TESTED: a full disk. A small one can't be mounted here (mount -t tmpfs needs root)"
        report(why)
        assert "OVNPAY_TEST_EVERYTHING" not in os.environ, why
        return
    with running_load([customer.url], customer, driver_id, "disk") as load:
        _until_payouts(load)
        # When the disk is full: PostgreSQL refuses writes, or panics when its log needs space, and can't restart
        free_bytes = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
        with suppress(OSError):  # there is less space by now: the disk is full all the same
            (disk / "ballast").write_bytes(b"\0" * max(free_bytes - BALLAST_LEAVES_BYTES, 0))
        until(lambda: load.refused.total() > 10, "requests are answered 503", 60)
        refused = load.refused.total()
        # and there is space again
        (disk / "ballast").unlink()
        back_at, paid = time.monotonic(), len(load.payout_ids)
        until(lambda: _is_running(system) and len(load.payout_ids) > paid + 5, "payouts are accepted again", 60)
        back_seconds = time.monotonic() - back_at
    # Then clients saw only 503 with a Retry-After, and nothing is lost
    assert load.errors == []
    load.assert_all_completed_once(customer, system.simulator(), system.description["database_url"], DRAINED_SECONDS)
    report(
        f"disk full: {load.summary()} ({refused} meanwhile); payouts accepted {back_seconds:.1f} s after it had space"
    )


def _server(system: Fleet, name: str) -> RunningProcess:
    return next(one for one in reversed(system.running) if one.name == name)


def _is_running(system: Fleet) -> bool:
    """Restart PostgreSQL if it has ended, as a supervisor does."""
    if _server(system, "postgres").process.poll() is not None:
        system.start_without_waiting("postgres")
        return False
    return True


def _until_payouts(load: ClientLoad) -> None:
    until(lambda: len(load.payout_ids) > 10, "payouts are accepted")


def _accepted_during(load: ClientLoad, seconds: float) -> None:
    """Wait for that long under load, and until payouts were accepted meanwhile."""
    until_at, paid = time.monotonic() + seconds, len(load.payout_ids)
    until(lambda: time.monotonic() > until_at and len(load.payout_ids) > paid, "payouts are accepted", seconds + 20)


def _refused_during(load: ClientLoad, seconds: float) -> None:
    ends_at, refused = time.monotonic() + seconds, load.refused.total()
    until(
        lambda: time.monotonic() > ends_at and load.refused.total() > refused,
        "requests are answered 503",
        seconds + 20,
    )
