"""Every process is replaced repeatedly while clients with keep-alive connections pay: no request fails."""

import os
import signal
import threading
from pathlib import Path

import pytest

from tests.support.client_load import running_load
from tests.support.fleet import Fleet, RunningProcess, running_fleet
from tests.support.polling import until
from tests.support.report_lines import report
from tests.support.stack import descendants_of

pytestmark = pytest.mark.long

ROUNDS = int(os.environ.get("OVNPAY_TEST_ROUNDS", "2"))
SETTINGS = {"OVNPAY_GATEWAY_PROCESSES": "2", "PAYSTREAM_SIM_STANDARD_SECONDS": "0.1"}


@pytest.mark.timeout(300 + 60 * ROUNDS)
def test_rolling_restarts_under_load(tmp_path: Path) -> None:
    with running_fleet(tmp_path, **SETTINGS) as ours:
        # Given the running system
        workers, scheduler = ours.start("workers"), ours.start("scheduler")
        gateway = ours.start("gateway")
        customer = ours.customer()
        driver_id = str(customer.verified_driver("Rolf Rolling")["id"])
        drained = []
        with running_load([customer.url], customer, driver_id, "rolling") as load:
            for _ in range(ROUNDS):
                # When a new process of each kind starts beside the old one, and the old one drains
                replacing = threading.Thread(target=_replace_children, args=(gateway,))
                replacing.start()
                workers, took = _replaced(ours, workers)
                drained.append(took)
                scheduler, _ = _replaced(ours, scheduler)
                replacing.join()
            until(lambda: load.requests > 50, "there is load")
        # Then no request failed, and each payout was paid once
        assert load.errors == []
        load.assert_all_completed_once(customer, ours.simulator(), ours.description["database_url"])
        took = gateway.stop()
        report(
            f"{ROUNDS} rolling restarts of every process: {load.summary()}",
            f"  workers drained in {max(drained):.1f} s at most, the gateway's parent in {took:.1f} s, "
            f"a request took {load.slowest():.3f} s (p99), {load.slowest(1):.3f} s at most",
        )


def _replaced(ours: Fleet, old: RunningProcess) -> tuple[RunningProcess, float]:
    """Start a process of the same kind and stop the old one; return the new one and the seconds of the drain."""
    new = ours.start(old.name)
    return new, old.stop()


def _replace_children(gateway: RunningProcess) -> None:
    """Send SIGHUP, and wait until every child is a new process."""
    before = set(descendants_of(gateway.process.pid))
    assert len(before) == 2
    gateway.process.send_signal(signal.SIGHUP)

    def all_new() -> bool:
        now = set(descendants_of(gateway.process.pid))
        return len(now) == 2 and not now & before

    until(all_new, "the gateway's processes were replaced", 90)
