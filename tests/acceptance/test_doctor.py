"""The doctor: says that a healthy installation is well, and of a broken one what is wrong and how it is mended."""

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


class Late:
    """A clock that is two minutes behind."""

    def now(self) -> datetime:
        """The moment."""
        return datetime.now(UTC) - timedelta(minutes=2)


def environment(stack: Stack) -> dict[str, str]:
    """What a service of the installation is given."""
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
    """What fails, by part; each says how it is mended."""
    broken = {one.part: one for one in found if one.level is Level.FAIL}
    assert all(one.mend for one in broken.values())
    return broken


def test_a_healthy_installation_is_well(stack: Stack) -> None:
    """Every line ok, exit code 0, and no secret in what it prints."""
    environ = environment(stack)

    def ask(*options: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "shared.cli", "doctor", *options]
        return subprocess.run(command, env=environ, cwd=PROJECT, capture_output=True, text=True, check=False)

    # When its processes have had the seconds in which they say that they are there
    until(lambda: all(one.level is Level.OK for one in run_checks(environ)), "the doctor finds all well", 20)
    # Then the doctor has nothing to mend
    said = json.loads(ask("--json").stdout)
    assert [one for one in said["findings"] if one["level"] != "ok"] == []
    assert {"database: migrations", "database: role", "workers", "scheduler", "gateway", "paystream: sandbox"} <= {
        one["part"] for one in said["findings"]
    }
    text = ask()
    assert text.returncode == 0
    assert "The installation is healthy" in text.stdout
    for secret in (urlsplit(environ["OVNPAY_DATABASE_URL"]).password, environ["OVNPAY_PAYSTREAM_TEST_KEY"]):
        assert secret
        assert secret not in text.stdout + text.stderr


def test_paystream_refuses_a_key(stack: Stack) -> None:
    """Sandbox payouts would all stay unknown: the doctor names the variable."""
    found = list(run_checks(environment(stack) | {"OVNPAY_PAYSTREAM_TEST_KEY": "psk_test_of_another_account"}))
    broken = failing(found)
    assert broken.keys() == {"paystream: sandbox"}
    assert "OVNPAY_PAYSTREAM_TEST_KEY" in broken["paystream: sandbox"].mend


def test_nobody_hears_a_queue_and_the_scheduler_is_gone(stack: Stack) -> None:
    """Instant payouts would wait: the doctor says which queue, and the command that hears it."""
    # Given a Redis to which all but the instant pool have said that they are there, the scheduler an hour ago
    url = stack["redis_url"].rsplit("/", 1)[0] + "/1"
    with redis.Redis.from_url(url) as client:
        seconds, _ = client.time()
        there = [f"queue:{queue}|host|1" for queue in QUEUES if queue != "instant"]
        client.zadd(
            CONSUMERS_KEY, {**dict.fromkeys([*there, "gateway|host|2"], seconds), "scheduler|host|3": seconds - 3600}
        )
    # When the doctor looks, then
    broken = failing(list(run_checks(environment(stack) | {"OVNPAY_REDIS_URL": url})))
    assert broken.keys() == {"workers", "scheduler"}
    assert broken["workers"].says == "nobody hears instant"
    assert "ovnpay workers --queues instant" in broken["workers"].mend


def test_the_database_was_never_migrated_and_our_clock_is_wrong(stack: Stack) -> None:
    """The first says `ovnpay migrate`, the second names both clocks; what is well besides is still said."""
    owner = stack["database_url"]
    with psycopg.connect(owner, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS doctors")
        connection.execute("CREATE DATABASE doctors")
    url = urlsplit(owner)._replace(path="/doctors").geturl()
    found = list(run_checks(environment(stack) | {"OVNPAY_DATABASE_URL": url}, Late()))
    broken = failing(found)
    assert broken.keys() == {"database: migrations", "database: clock"}
    assert "ovnpay migrate" in broken["database: migrations"].mend
    assert "120 s apart" in broken["database: clock"].says
    assert [one.level for one in found if one.part == "workers"] == [Level.OK]


def test_neither_server_is_there(stack: Stack) -> None:
    """One that is away hides no other, and no sentence has an address's password."""
    away = {
        "OVNPAY_DATABASE_URL": "postgresql://pay:s3cret-pass@127.0.0.1:9/pay",
        "OVNPAY_REDIS_URL": "redis://:s3cret-pass@127.0.0.1:9/0",
        "OVNPAY_PAYSTREAM_URL": "http://127.0.0.1:9",
    }
    found = list(run_checks(environment(stack) | away))
    assert failing(found).keys() == {"database", "redis", "paystream: sandbox", "paystream: production"}
    assert "s3cret" not in repr(found)
    # And in a file or a pipe each sentence stands there whole.
    command = [sys.executable, "-m", "shared.cli", "doctor"]
    done = subprocess.run(
        command, env=environment(stack) | away, cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert all(one.mend in done.stdout for one in found)


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"OVNPAY_DATABASE_URL": "postgresql://x/y"}, "OVNPAY_REDIS_URL is not set"),
        ({"OVNPAY_DATABASE_URL": "postgresql://x/y", "OVNPAY_REDIS_URL": "redis://x", "OVNPAY_LEASE_SECONDS": "1"},
         "OVNPAY_LEASE_SECONDS must be longer"),
    ],
)  # fmt: skip
def test_settings_that_will_not_do(environ: dict[str, str], says: str) -> None:
    """There is nowhere to look then: one line, which says which."""
    (only,) = run_checks(environ)
    assert only.level is Level.FAIL
    assert says in only.says


def test_the_services_could_change_the_ledger_and_a_setting_has_a_slip(stack: Stack) -> None:
    """Both work, so they are warnings, and the installation is well all the same."""
    environ = environment(stack) | {"OVNPAY_DATABASE_URL": stack["database_url"], "OVNPAY_LOG_LEVLE": "info"}
    found = list(run_checks(environ))
    assert failing(found) == {}
    warned = {one.part: one for one in found if one.level is Level.WARN}
    assert warned.keys() == {"settings", "database: role"}
    assert warned["settings"].mend == "did you mean OVNPAY_LOG_LEVEL?"
