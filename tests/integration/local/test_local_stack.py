"""`ovnpay up` keeps the system running, describes it, and leaves no process behind.

The services are stand-ins (see `stand_in_stack.py`); the supervisor and, with STAND_IN_SERVERS, the servers are real.
"""

import json
import os
import re
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from deploy.local import processes
from tests.integration.local.stand_ins import StandInStack, copy_postgres
from tests.support.polling import until

_NAMES = {"stack", "paystream", "workers", "scheduler", "gateway"}


def test_first_and_second_start_with_real_servers(stack: StandInStack) -> None:
    for _ in range(2):
        described = stack.up({"STAND_IN_SERVERS": "1"})

        assert set(described["processes"]) == _NAMES | {"postgres", "valkey"}
        assert described["database_url"].startswith("postgresql://ovnpay:")
        assert described["sandbox_key"] == "ovnp_sbox_x"
        assert "curl -s -H 'Authorization: Bearer ovnp_sbox_x'" in stack.printed()
        for private in ("stack.json", "run.json", "logs/stack.log", "logs/postgres.log", "postgres/password"):
            assert (stack.home / private).stat().st_mode & 0o777 == 0o600, private
        with urllib.request.urlopen(f"{described['gateway']}/health") as answer:
            assert answer.status == 200

        assert stack.end(signal.SIGINT) == 0
        assert stack.processes() == []
        assert not (stack.home / "stack.json").exists()


def test_services_stop_in_order(stack: StandInStack) -> None:
    stack.up()

    assert stack.end(signal.SIGINT) == 0

    stopped = [line.split()[0] for line in stack.journal() if line.endswith("stopped")]
    assert stopped == ["gateway", "scheduler", "workers", "paystream"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_sighup_stop_it(stack: StandInStack, number: signal.Signals) -> None:
    stack.up()

    assert stack.end(number) == 0

    assert stack.processes() == []


def test_second_ctrl_c_kills_a_service_that_does_not_stop(stack: StandInStack) -> None:
    # Given a service that ignores SIGTERM
    stack.up({"STAND_IN_STUBBORN": "gateway"})
    process = stack.launched()

    process.send_signal(signal.SIGINT)
    until(lambda: "stopping" in stack.printed(), "the stop begins")
    process.send_signal(signal.SIGINT)

    assert process.wait(5) == 0  # well before the patience of ten seconds
    assert stack.processes() == []


def test_service_that_dies_is_restarted_and_reported(stack: StandInStack) -> None:
    before = stack.up()["processes"]["workers"]

    os.kill(before, signal.SIGKILL)

    # stack.json names every service at any time
    until(lambda: stack.read()["processes"]["workers"] != before, "the service has a new pid")
    until(lambda: stack.printed().count("workers    ready again") == 1, "the service is back")
    assert "workers was killed by SIGKILL: restart in 0.2 s" in stack.printed()
    after = stack.read()["processes"]["workers"]
    assert after != before
    assert processes.identify(after)


def test_killed_servers_restart_on_the_same_ports(stack: StandInStack, postgres_template: Path) -> None:
    copy_postgres(postgres_template, stack.home / "postgres")
    described = stack.up({"STAND_IN_SERVERS": "1"})

    os.kill(described["processes"]["postgres"], signal.SIGKILL)
    os.kill(described["processes"]["valkey"], signal.SIGKILL)

    until(lambda: stack.printed().count("ready again") == 2, "both servers are back")
    after = stack.read()
    assert after["database_url"] == described["database_url"]
    assert after["redis_url"] == described["redis_url"]
    assert stack.end() == 0
    assert stack.processes() == []


def test_service_that_keeps_dying_ends_the_start_with_its_cause_in_the_last_line(stack: StandInStack) -> None:
    process = stack.launch({"STAND_IN_BROKEN": "scheduler"})

    assert process.wait(30) == 1

    last_line = stack.printed().rstrip().splitlines()[-1]
    assert "scheduler ended (exit code 1), for the 5th time during the start: the stand-in breaks" in last_line
    assert stack.processes() == []
    assert not (stack.home / "stack.json").exists()


def test_failed_start_stops_services_together_and_kills_those_that_do_not_react(stack: StandInStack) -> None:
    """Given three services that ignore SIGTERM, which a stop in order would give ten seconds each."""
    process = stack.launch({"STAND_IN_BROKEN": "scheduler", "STAND_IN_STUBBORN": "gateway,workers,paystream"})

    assert process.wait(20) == 1

    assert stack.processes() == []
    assert "did not stop in time" not in stack.printed()


@pytest.mark.parametrize("name", ["gateway", "postgres", "valkey"])
def test_start_that_loses_a_port_takes_another_one(stack: StandInStack, postgres_template: Path, name: str) -> None:
    """As when two systems start in the same second: the port was free when it was chosen."""
    copy_postgres(postgres_template, stack.home / "postgres")

    described = stack.up({"STAND_IN_SERVERS": "1", "STAND_IN_STOLEN_PORT": name})

    assert re.search(rf"{name} lost port \d+ to another process during the start: starting again", stack.printed())
    assert set(described["processes"]) == _NAMES | {"postgres", "valkey"}
    assert "for the 5th time" not in stack.printed()


@pytest.mark.parametrize(
    ("program", "reason"),
    [("raise SystemExit('no migration')", "no migration"), ("print('no json')", "bootstrap Expecting value")],
)
def test_failing_job_ends_the_start(stack: StandInStack, program: str, reason: str) -> None:
    assert stack.launch({"STAND_IN_JOB": program}).wait(30) == 1

    assert reason in stack.printed()
    assert stack.processes() == []


def test_taken_default_port_is_replaced_and_reported(stack: StandInStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        described = stack.up({"STAND_IN_DEFAULT_PORT": str(port)})

    chosen = described["gateway"].rpartition(":")[2]
    assert f"port {port} is taken: gateway uses {chosen}" in stack.printed()


def test_taken_port_from_the_environment_is_an_error(stack: StandInStack) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert stack.launch({"OVNPAY_GATEWAY_PORT": str(port)}).wait(30) == 1

    assert f"port {port} (OVNPAY_GATEWAY_PORT) for gateway is taken" in stack.printed()


def test_killed_parent_leaves_no_process_and_the_next_start_works(stack: StandInStack, postgres_template: Path) -> None:
    copy_postgres(postgres_template, stack.home / "postgres")
    stack.up({"STAND_IN_SERVERS": "1"})

    stack.end(signal.SIGKILL)

    until(lambda: stack.processes() == [], "the kernel ends the children")
    assert stack.up({"STAND_IN_SERVERS": "1"})["processes"].keys() == _NAMES | {"postgres", "valkey"}


def test_leftovers_are_stopped_and_a_process_with_a_reused_pid_is_not(stack: StandInStack) -> None:
    # Given a child of a service, and a recorded pid that another process has now
    stack.home.mkdir()
    mark = {**os.environ, "OVNPAY_SUPERVISED_BY": str(stack.home)}
    with subprocess.Popen(["sleep", "60"], env=mark) as leftover, subprocess.Popen(["sleep", "60"]) as other:
        rows = {"gateway": {"pid": other.pid, "started": "1"}}
        (stack.home / "run.json").write_text(json.dumps({"ready": True, "processes": rows, "services": []}))

        stack.up()

        assert leftover.wait(10) == -signal.SIGTERM
        assert "stopped 1 processes that an earlier run left behind" in stack.printed()
        assert other.poll() is None
        other.kill()


def test_second_up_prints_where_the_first_one_runs(stack: StandInStack) -> None:
    gateway = stack.up()["gateway"]

    second = stack.command("up")

    assert second.returncode == 0
    assert "already runs" in second.stdout
    assert gateway in second.stdout


def test_down_stops_it_and_reports_when_nothing_runs(stack: StandInStack) -> None:
    stack.up()

    assert stack.command("down").returncode == 0
    assert stack.launched().wait(10) == 0
    assert stack.processes() == []

    again = stack.command("down")
    assert again.returncode == 0
    assert "nothing runs" in again.stdout


def test_down_stops_what_a_killed_parent_left_running(stack: StandInStack) -> None:
    stack.home.mkdir()
    mark = {**os.environ, "OVNPAY_SUPERVISED_BY": str(stack.home)}
    with subprocess.Popen(["sleep", "60"], env=mark) as leftover:
        assert "stopped 1 processes" in stack.command("down").stdout
        assert leftover.wait(10) == -signal.SIGTERM


def test_status_probes_the_processes(stack: StandInStack) -> None:
    assert stack.command("status").returncode == 3

    described = stack.up()
    assert stack.command("status").returncode == 0
    answer = json.loads(stack.command("status", "--json").stdout)
    assert {row["name"]: row["pid"] for row in answer["processes"]} == described["processes"]
    assert all(row["resident_bytes"] > 1_000_000 for row in answer["processes"])

    # A service that runs but does not answer is not ready
    gateway = described["processes"]["gateway"]
    os.kill(gateway, signal.SIGSTOP)
    hanging = stack.command("status")
    os.kill(gateway, signal.SIGCONT)
    assert hanging.returncode == 3
    assert "starting" in hanging.stdout


def test_deleting_the_home_stops_the_stack(stack: StandInStack) -> None:
    stack.up()
    stack.delete_home()

    assert stack.launched().wait(20) == 0

    assert stack.processes() == []
