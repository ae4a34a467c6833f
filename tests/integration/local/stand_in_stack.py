"""`ovnpay up` with stand-ins for the services: the same supervisor, homes and embedded servers, nothing to migrate.

    python stand_in_stack.py

Reads OVNPAY_HOME, STAND_IN_SERVERS=1 for a real PostgreSQL and Valkey beside the stand-ins, and STAND_IN_STOLEN_PORT:
the name of a service whose chosen port another listener takes before the service starts, once.
"""

import json
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from deploy.local import ports
from deploy.local.home import MARK_VARIABLE, Home
from deploy.local.plan import Plan
from deploy.local.postgres import EmbeddedPostgres
from deploy.local.service import Service, python_service, server_service
from deploy.local.up import up
from deploy.local.valkey import EmbeddedValkey

_SERVICE = str(Path(__file__).with_name("stand_in_service.py"))
_JOB = "import json, sys; print(json.dumps({'sandbox_key': 'ovnp_sbox_x', 'production_key': 'ovnp_prod_x'}))"
_stolen: list[socket.socket] = []
_NAMES = ("paystream", "workers", "scheduler", "gateway")


def make_plan(home: Home, environ: Mapping[str, str]) -> Plan:
    # 0 is any free port: tests may run beside a developer's own stack.
    variables = {"OVNPAY_POSTGRES_PORT": "0", "OVNPAY_VALKEY_PORT": "0", **environ}
    wanted = [ports.Port(name, f"STAND_IN_{name.upper()}_PORT", 0) for name in _NAMES]
    wanted[-1] = ports.Port("gateway", "OVNPAY_GATEWAY_PORT", int(environ.get("STAND_IN_DEFAULT_PORT", "0")))
    numbers, notes = ports.choose([*wanted, *ports.PORTS[-2:]], variables, "127.0.0.1")
    if (name := environ.get("STAND_IN_STOLEN_PORT")) and not _stolen:
        _stolen.append(socket.create_server(("127.0.0.1", numbers[name])))
    description: dict[str, object] = {"database_url": "none", "redis_url": "none"}
    services: list[Service] = []
    if environ.get("STAND_IN_SERVERS"):
        postgres = EmbeddedPostgres(home.path / "postgres", numbers["postgres"], log_path=home.log_path("postgres"))
        valkey = EmbeddedValkey(home.path / "valkey", numbers["valkey"], log_path=home.log_path("valkey"))
        services = [server_service(postgres), server_service(valkey)]
        description = {"database_url": postgres.url, "redis_url": valkey.url}
    mark = {MARK_VARIABLE: str(home.path)}
    job = environ.get("STAND_IN_JOB", _JOB)
    services.append(
        python_service("bootstrap", ["-c", job], mark, on_output=lambda text: description.update(json.loads(text)))
    )
    for name in _NAMES:
        url = f"http://127.0.0.1:{numbers[name]}"
        arguments = ["-I", "-S", _SERVICE, name, str(numbers[name]), str(home.path / "journal")]
        services.append(
            python_service(name, arguments, mark, url=url, probe=f"{url}/health", ports=[("127.0.0.1", numbers[name])])
        )
        description[name] = url
    description["metrics"] = {name: f"{description[name]}/metrics" for name in ("gateway", "workers", "scheduler")}
    return Plan(services, description, notes)


if __name__ == "__main__":
    home = Home.find(os.environ)
    sys.exit(up(home, os.environ, make_plan))
