"""Plan the system on one machine: its processes, their environment, and how clients find them."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from deploy.local import ports
from deploy.local.home import MARK_VARIABLE, Home
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.service import Service, python_service, server_service
from deploy.local.valkey import EmbeddedValkey

# The simulator settles within seconds, so polling intervals and leases are short, and the provider's published limits,
# which would stop a developer after 1,000 calls, are off. One malloc arena, as in the image, saves 2 to 4 MB for each
# process. The developer's own environment overrides all of these.
_DEFAULTS = {
    "OVNPAY_ENVIRONMENT": "development",
    "OVNPAY_VERIFY_AFTER_SECONDS": "0.3",
    "OVNPAY_POLL_AFTER_INSTANT_SECONDS": "3",
    "OVNPAY_POLL_AFTER_SAME_DAY_SECONDS": "5",
    "OVNPAY_POLL_AFTER_STANDARD_SECONDS": "5",
    "OVNPAY_PAYSTREAM_TIMEOUT_SECONDS": "5",
    "OVNPAY_LEASE_SECONDS": "12",
    "OVNPAY_PAYSTREAM_REQUESTS_PER_HOUR": "0",
    "OVNPAY_PAYSTREAM_FUNDING_PER_MINUTE": "0",
    "PAYSTREAM_SIM_REQUESTS_PER_HOUR": "0",
    "PAYSTREAM_SIM_FUNDING_PER_MINUTE": "0",
    "MALLOC_ARENA_MAX": "1",
}


_NOT_SETTINGS = {MARK_VARIABLE, "OVNPAY_HOME", "OVNPAY_API_URL", "OVNPAY_API_KEY", "OVNPAY_API_KEY_FILE"}
"""Variables of commands, not of services: left out of the settings in stack.json, which operator commands use."""


class Plan(NamedTuple):
    """What to run. `description` becomes stack.json; a job may add to it. `notes` are printed."""

    services: list[Service]
    description: dict[str, Any]
    notes: list[str]


PlanMaker = Callable[[Home, Mapping[str, str]], Plan]


def make_plan(home: Home, environ: Mapping[str, str]) -> Plan:
    """Plan the real system. Raises PortError or EmbeddedServerError if the environment can't be satisfied."""
    database_url, redis_url = _given(environ, "OVNPAY_DATABASE_URL"), _given(environ, "OVNPAY_REDIS_URL")
    owner_url = _given(environ, "OVNPAY_MIGRATION_DATABASE_URL")
    paystream_url = _given(environ, "OVNPAY_PAYSTREAM_URL")
    host = environ.get("OVNPAY_GATEWAY_HOST") or "127.0.0.1"
    external = {"postgres": database_url, "valkey": redis_url, "paystream": paystream_url}
    wanted = [port for port in ports.PORTS if not external.get(port.name)]
    numbers, notes = ports.choose(wanted, environ, host)

    postgres = valkey = None
    if not database_url:
        postgres = EmbeddedPostgres(home.path / "postgres", numbers["postgres"], log_path=home.log_path("postgres"))
        if not postgres.working_dir.exists():
            notes.append("the first start sets up PostgreSQL, which takes a second")
        database_url, owner_url = postgres.service_url, postgres.url
    if not redis_url:
        valkey = EmbeddedValkey(home.path / "valkey", numbers["valkey"], log_path=home.log_path("valkey"))
        redis_url = valkey.url
    secrets = home.secrets()
    gateway_url = f"http://{_reachable(host)}:{numbers['gateway']}"
    addresses = {
        "OVNPAY_GATEWAY_HOST": host,
        "OVNPAY_DATABASE_URL": database_url,
        "OVNPAY_METRICS_FOLDER": _given(environ, "OVNPAY_METRICS_FOLDER") or str(home.path / "metrics"),
        "OVNPAY_MIGRATION_DATABASE_URL": "",  # only the migration job gets it
        "OVNPAY_REDIS_URL": redis_url,
        "OVNPAY_PAYSTREAM_URL": paystream_url or f"http://127.0.0.1:{numbers['paystream']}",
        **{port.variable: str(numbers[port.name]) for port in wanted},
    }
    environment = {**_with_secrets(secrets, environ), **addresses, MARK_VARIABLE: str(home.path)}
    description = _describe(home, environment, owner_url, gateway_url, numbers)
    services = [server_service(server) for server in (postgres, valkey) if server]
    as_owner = {**environment, "OVNPAY_MIGRATION_DATABASE_URL": owner_url}
    services.append(_bootstrap(home, as_owner, description, secrets.get("credentials")))
    if not paystream_url:
        services.append(_paystream(home, environment, gateway_url, [("127.0.0.1", numbers["paystream"])]))
    for name, module in (("exporter", "shared.reporting.exporter"), ("workers", "workers"), ("scheduler", "scheduler")):
        health = description["metrics"][name].removesuffix("/metrics") + "/health"
        url = description["metrics"][name]
        listener = [(host, numbers[f"{name} metrics"])]
        services.append(python_service(name, ["-m", module], environment, url=url, probe=health, ports=listener))
    probe = f"{gateway_url}/health"
    listeners = [(host, numbers[name]) for name in ("gateway", "gateway metrics")]
    services.append(
        python_service("gateway", ["-m", "gateway"], environment, url=gateway_url, probe=probe, ports=listeners)
    )
    return Plan(services, description, notes)


def _bootstrap(
    home: Home, environment: Mapping[str, str], description: dict[str, Any], kept: Mapping[str, Any] | None
) -> Service:
    """Describe the job that migrates and creates the demo organization; it reuses stored keys or prints new ones."""

    def keep(output: str) -> None:
        lines = output.strip().splitlines()
        credentials = json.loads(lines[-1]) if lines else None
        if not isinstance(credentials, dict) or "sandbox_key" not in credentials:
            raise ValueError("printed no credentials")
        home.keep_credentials(credentials)
        description.update({name: credentials[name] for name in ("sandbox_key", "production_key", "owner")})

    given = {"OVNPAY_BOOTSTRAP": json.dumps(kept)} if kept else {}
    arguments = ["-m", "shared.cli", "bootstrap", "--json"]
    return python_service("bootstrap", arguments, {**environment, **given}, on_output=keep)


def _paystream(
    home: Home, environment: Mapping[str, str], gateway_url: str, listener: Sequence[tuple[str, int]]
) -> Service:
    own = {
        "PAYSTREAM_SIM_RECORD": str(home.path / "paystream.sqlite"),
        "PAYSTREAM_SIM_TEST_KEY": environment["OVNPAY_PAYSTREAM_TEST_KEY"],
        "PAYSTREAM_SIM_LIVE_KEY": environment["OVNPAY_PAYSTREAM_LIVE_KEY"],
        "PAYSTREAM_SIM_WEBHOOK_URL": f"{gateway_url}/api/v1/webhooks/paystream",
        "PAYSTREAM_SIM_WEBHOOK_SECRET": environment["OVNPAY_PAYSTREAM_WEBHOOK_SECRET"],
    }
    exported = {name: value for name, value in environment.items() if name.startswith("PAYSTREAM_SIM_")}
    url = environment["OVNPAY_PAYSTREAM_URL"]
    complete = {**environment, **own, **exported}
    arguments = ["-m", "deploy.simulator"]
    return python_service("paystream", arguments, complete, url=url, probe=f"{url}/health", ports=listener)


def _with_secrets(secrets: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, str]:
    defaults = {
        **_DEFAULTS,
        "OVNPAY_KEY_PEPPER": secrets["key_pepper"],
        "OVNPAY_PAYSTREAM_WEBHOOK_SECRET": secrets["webhook_secret"],
        "OVNPAY_PAYSTREAM_TEST_KEY": secrets["paystream_test_key"],
        "OVNPAY_PAYSTREAM_LIVE_KEY": secrets["paystream_live_key"],
    }
    return {**defaults, **{name: _given(environ, name) for name in defaults if _given(environ, name)}, **environ}


def _describe(
    home: Home, environment: Mapping[str, str], owner_url: str, gateway_url: str, numbers: Mapping[str, int]
) -> dict[str, Any]:
    host = _reachable(environment["OVNPAY_GATEWAY_HOST"])
    names = ("gateway", "workers", "scheduler", "exporter")
    return {
        "gateway": gateway_url,
        "paystream": environment["OVNPAY_PAYSTREAM_URL"],
        "database_url": owner_url or environment["OVNPAY_DATABASE_URL"],
        "service_database_url": environment["OVNPAY_DATABASE_URL"],
        "redis_url": environment["OVNPAY_REDIS_URL"],
        "metrics": {name: f"http://{host}:{numbers[f'{name} metrics']}/metrics" for name in names},
        "webhook_secret": environment["OVNPAY_PAYSTREAM_WEBHOOK_SECRET"],
        "paystream_keys": {
            "test": environment["OVNPAY_PAYSTREAM_TEST_KEY"],
            "live": environment["OVNPAY_PAYSTREAM_LIVE_KEY"],
        },
        "home": str(home.path),
        "settings": {
            name: value
            for name, value in sorted(environment.items())
            if value and name.startswith("OVNPAY_") and name not in _NOT_SETTINGS
        },
    }


def _given(environ: Mapping[str, str], name: str) -> str:
    """Return the variable's value, or the content of the file that `NAME_FILE` names; "" if neither is set."""
    if value := environ.get(name):
        return value
    path = environ.get(f"{name}_FILE")
    if not path:
        return ""
    with open(os.path.expanduser(path)) as file:
        return file.read().strip()


def _reachable(host: str) -> str:
    """Return the address to connect to for an address to listen on."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(host, f"[{host}]" if ":" in host else host)
