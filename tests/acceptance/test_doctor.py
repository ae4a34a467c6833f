"""The doctor finds nothing wrong in a healthy installation, and says how to fix what is wrong in a broken one."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest
import redis

from shared.operations.doctor.checkup import run_checks
from shared.operations.doctor.finding import Finding, Level
from shared.platform.registered_consumers import CONSUMERS_KEY
from shared.platform.task_queue import QUEUES
from tests.support.polling import until
from tests.support.stack import Stack

PROJECT = Path(__file__).parents[2]


class SlowClock:
    """A clock that is two minutes behind."""

    def now(self) -> datetime:
        return datetime.now(UTC) - timedelta(minutes=2)


def environment(stack: Stack) -> dict[str, str]:
    """Return the settings of the installation's services."""
    return {
        "OVNPAY_DATABASE_URL": stack["service_database_url"],
        "OVNPAY_REDIS_URL": stack["redis_url"],
        "OVNPAY_PAYSTREAM_URL": stack["paystream"],
        "OVNPAY_PAYSTREAM_TEST_KEY": stack["paystream_keys"]["test"],
        "OVNPAY_PAYSTREAM_LIVE_KEY": stack["paystream_keys"]["live"],
        "OVNPAY_PAYSTREAM_WEBHOOK_SECRET": stack["webhook_secret"],
        "OVNPAY_KEY_PEPPER": "a pepper for tests",
    }


def failing(found: list[Finding]) -> dict[str, Finding]:
    """Return the failures by part; each has a remedy."""
    broken = {one.part: one for one in found if one.level is Level.FAIL}
    assert all(one.remedy for one in broken.values())
    return broken


def test_healthy_installation_has_only_ok_findings(stack: Stack) -> None:
    """And exit code 0, and no secret in the output."""
    environ = environment(stack)

    def run_doctor(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "shared.cli", "doctor", *options]
        return subprocess.run(command, env=environ, cwd=PROJECT, capture_output=True, text=True, check=False)

    # When its processes have sent their first heartbeat
    until(lambda: all(one.level is Level.OK for one in run_checks(environ)), "all findings are ok", 20)
    # Then no finding is a warning or failure
    report = json.loads(run_doctor("--json").stdout)
    assert [one for one in report["findings"] if one["level"] != "ok"] == []
    assert {"database: migrations", "database: role", "workers", "scheduler", "gateway", "paystream: sandbox"} <= {
        one["part"] for one in report["findings"]
    }
    text = run_doctor()
    assert text.returncode == 0
    assert "The installation is healthy" in text.stdout
    for secret in (urlsplit(environ["OVNPAY_DATABASE_URL"]).password, environ["OVNPAY_PAYSTREAM_TEST_KEY"]):
        assert secret
        assert secret not in text.stdout + text.stderr


def test_rejected_provider_key_names_the_variable(stack: Stack) -> None:
    found = list(run_checks(environment(stack) | {"OVNPAY_PAYSTREAM_TEST_KEY": "psk_test_of_another_account"}))
    broken = failing(found)
    assert broken.keys() == {"paystream: sandbox"}
    assert "OVNPAY_PAYSTREAM_TEST_KEY" in broken["paystream: sandbox"].remedy


def test_queue_without_consumers_and_missing_scheduler_fail(stack: Stack) -> None:
    # Given a Redis with heartbeats of all but the instant pool, and a scheduler's of an hour ago
    url = stack["redis_url"].rsplit("/", 1)[0] + "/1"
    with redis.Redis.from_url(url) as client:
        seconds, _ = client.time()
        current = [f"queue:{queue}|host|1" for queue in QUEUES if queue != "instant"]
        client.zadd(
            CONSUMERS_KEY, {**dict.fromkeys([*current, "gateway|host|2"], seconds), "scheduler|host|3": seconds - 3600}
        )
    # When the doctor runs, then it names the queue and the command that consumes it
    broken = failing(list(run_checks(environment(stack) | {"OVNPAY_REDIS_URL": url})))
    assert broken.keys() == {"workers", "scheduler"}
    assert broken["workers"].message == "no worker consumes instant"
    assert "ovnpay workers --queues instant" in broken["workers"].remedy


def test_unmigrated_database_and_wrong_clock_fail_and_hide_no_other_finding(stack: Stack) -> None:
    owner = stack["database_url"]
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS doctors")
        connection.execute("CREATE DATABASE doctors")
    url = urlsplit(owner)._replace(path="/doctors").geturl()
    found = list(run_checks(environment(stack) | {"OVNPAY_DATABASE_URL": url}, SlowClock()))
    broken = failing(found)
    assert broken.keys() == {"database: migrations", "database: clock"}
    assert "ovnpay migrate" in broken["database: migrations"].remedy
    assert "120 s apart" in broken["database: clock"].message
    assert [one.level for one in found if one.part == "workers"] == [Level.OK]


def test_unreachable_servers_fail_without_showing_passwords(stack: Stack) -> None:
    away = {
        "OVNPAY_DATABASE_URL": "postgresql://pay:s3cret-pass@127.0.0.1:9/pay",
        "OVNPAY_REDIS_URL": "redis://:s3cret-pass@127.0.0.1:9/0",
        "OVNPAY_PAYSTREAM_URL": "http://127.0.0.1:9",
    }
    found = list(run_checks(environment(stack) | away))
    assert failing(found).keys() == {"database", "redis", "paystream: sandbox", "paystream: production"}
    assert "s3cret" not in repr(found)
    # And in a file or a pipe no line is wrapped.
    command = [sys.executable, "-m", "shared.cli", "doctor"]
    done = subprocess.run(
        command, env=environment(stack) | away, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert all(one.remedy in done.stdout for one in found)


@pytest.mark.parametrize(
    ("environ", "message"),
    [
        ({"OVNPAY_DATABASE_URL": "postgresql://x/y"}, "OVNPAY_REDIS_URL is not set"),
        ({"OVNPAY_DATABASE_URL": "postgresql://x/y", "OVNPAY_REDIS_URL": "redis://x", "OVNPAY_LEASE_SECONDS": "1"},
         "OVNPAY_LEASE_SECONDS must be longer"),
    ],
)  # fmt: skip
def test_invalid_settings_are_the_only_finding(environ: dict[str, str], message: str) -> None:
    (only,) = run_checks(environ)
    assert only.level is Level.FAIL
    assert message in only.message


def test_powerful_role_and_misspelled_setting_are_only_warnings(stack: Stack) -> None:
    environ = environment(stack) | {"OVNPAY_DATABASE_URL": stack["database_url"], "OVNPAY_LOG_LEVLE": "info"}
    found = list(run_checks(environ))
    assert failing(found) == {}
    warned = {one.part: one for one in found if one.level is Level.WARN}
    assert warned.keys() == {"settings", "database: role"}
    assert warned["settings"].remedy == "did you mean OVNPAY_LOG_LEVEL?"
