"""The system behind PgBouncer in transaction mode: fewer connections to PostgreSQL, same behavior."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from deploy.local.postgres import EmbeddedPostgres
from shared.platform.database import SESSION_SETTINGS
from tests.support.client_load import running_load
from tests.support.fleet import running_fleet
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.report_lines import report

SERVER_CONNECTIONS = 6


@pytest.mark.timeout(600)
def test_payouts_behind_pgbouncer(tmp_path: Path) -> None:
    with running_fleet(tmp_path, PAYSTREAM_SIM_STANDARD_SECONDS="0.1") as ours, _pgbouncer(ours.description) as url:
        # Given services that reach PostgreSQL only through a pooler with few connections
        behind = {"OVNPAY_DATABASE_URL": url, "OVNPAY_DATABASE_POOLER": "transaction"}
        refused = ours.start_without_waiting("scheduler", **behind)
        assert refused.process.wait(30) != 0, "it starts although its sessions would wait for locks without a limit"
        assert "ALTER ROLE ovnpay_app SET lock_timeout = '5s';" in ours.logs()
        _configure_role(
            EmbeddedPostgres(tmp_path / "postgres", urlsplit(ours.description["database_url"]).port).admin_url
        )
        for process in [ours.start_without_waiting(name, **behind) for name in ("workers", "scheduler", "gateway")]:
            process.wait_ready()
        customer = ours.customer()
        driver_id = str(customer.verified_driver("Paula Pooled")["id"])
        # When many clients pay concurrently
        with running_load([customer.url], customer, driver_id, "pooled", clients=8) as load:
            until(lambda: len(load.payout_ids) > 100, "payouts are accepted", 60)
            seen = _connections(ours.description["database_url"])
        # Then nothing fails
        assert load.errors == []
        assert not load.refused
        load.assert_all_completed_once(customer, ours.simulator(), ours.description["database_url"])
        assert 0 < seen <= SERVER_CONNECTIONS
        report(f"behind PgBouncer in transaction mode: {load.summary()}; {seen} connections to PostgreSQL")


@contextmanager
def _pgbouncer(description: Mapping[str, str]) -> Iterator[str]:
    """Run PgBouncer in front of the services' database; yield its URL."""
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    assert program, "this test needs PgBouncer: apt install pgbouncer"
    server = urlsplit(description["service_database_url"])
    port = free_port()
    folder = Path(tempfile.mkdtemp(prefix="ovnpay-pgbouncer-"))
    folder.chmod(0o755)  # started by root, it runs as another user
    (folder / "users.txt").write_text(f'"{server.username}" "{server.password}"\n')
    (folder / "pgbouncer.ini").write_text(
        f"""[databases]
ovnpay = host=127.0.0.1 port={server.port} dbname=ovnpay

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {SERVER_CONNECTIONS}
max_client_conn = 200
"""
    )
    command = [program, *(["-u", "nobody"] if os.geteuid() == 0 else []), str(folder / "pgbouncer.ini")]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    url = server._replace(netloc=f"{server.username}:{server.password}@127.0.0.1:{port}").geturl()
    try:
        until(lambda: _is_up(url), f"PgBouncer answers: {(folder / 'log').read_text()}")
        yield url
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _is_up(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def _configure_role(admin_url: str) -> None:
    """Set the session settings of the role, as an operator does once, and end the sessions that began before."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        for name, value in SESSION_SETTINGS.items():
            connection.execute(f"ALTER ROLE ovnpay_app SET {name} = '{value}'")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'ovnpay_app'")


def _connections(database_url: str) -> int:
    with psycopg.connect(database_url) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE usename = 'ovnpay_app'").fetchone()
    assert row
    return int(row[0])
