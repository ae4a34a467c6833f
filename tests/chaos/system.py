"""The system under chaos: two gateways, two worker pools and two schedulers, each behind its own links.

`python -m tests.chaos.system` runs it under the supervisor of `ovnpay up`; the environment has the ports of the links.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from deploy.local.home import Home
from deploy.local.plan import Plan, make_plan
from deploy.local.service import Service
from deploy.local.up import up
from tests.chaos.links import Link
from tests.chaos.plan import LEASE_SECONDS
from tests.support.ports import free_port

LINKS_VARIABLE: Final = "CHAOS_LINKS"
"""The port of each link by its name, as JSON."""
WITHOUT_VARIABLE: Final = "CHAOS_WITHOUT"
"""The safeguards that the services run without, see `tests.chaos.controls`."""
SECOND_GATEWAY_VARIABLE: Final = "CHAOS_SECOND_GATEWAY_PORT"

SETTINGS: Final = {
    "OVNPAY_PAYSTREAM_TIMEOUT_SECONDS": "1.5",
    "OVNPAY_LEASE_SECONDS": str(LEASE_SECONDS),
    "PAYSTREAM_SIM_FAULT_TIMEOUT_SECONDS": "3",
    "OVNPAY_LOG_FORMAT": "json",
}
"""Short timeouts, to detect within seconds what would take minutes."""


def chaos_plan(home: Home, environ: Mapping[str, str]) -> Plan:
    """Make the plan of `ovnpay up` with each of our services twice."""
    links: dict[str, int] = json.loads(environ[LINKS_VARIABLE])
    plan = make_plan(home, environ)
    services: list[Service] = []
    for service in plan.services:
        if service.name in ("gateway", "workers", "scheduler"):
            service = _without_safeguards(service, environ.get(WITHOUT_VARIABLE, ""))
            services += [_behind_links(service, number, links, environ) for number in (1, 2)]
        else:
            services.append(service)
    return Plan(services, plan.description, plan.notes)


def encode_links(links: Mapping[str, Link]) -> str:
    """Encode the ports of the links for the environment."""
    return json.dumps({name: link.port for name, link in links.items()})


def _without_safeguards(service: Service, names: str) -> Service:
    """Start the service through `tests.chaos.controls`, which patches its code."""
    if not names:
        return service
    at = list(service.command).index("-m") + 1
    command = [*service.command[:at], "tests.chaos.controls", names, *service.command[at:]]
    return service._replace(command=command)


def _behind_links(service: Service, number: int, links: Mapping[str, int], environ: Mapping[str, str]) -> Service:
    """Make the first or second instance of a service, connected through its links."""
    name = f"{service.name}-{number}"
    own = dict(service.environment)
    for variable, to in (
        ("OVNPAY_DATABASE_URL", "postgres"),
        ("OVNPAY_REDIS_URL", "valkey"),
        ("OVNPAY_PAYSTREAM_URL", "paystream"),
    ):
        if port := links.get(f"{name}>{to}"):
            own[variable] = _at(own[variable], port)
    url, probe = service.url, service.probe
    if number == 2:
        metrics = f"OVNPAY_{service.name.upper()}_METRICS_PORT"
        own[metrics] = str(free_port())
        port = int(own[metrics])
        if service.name == "gateway":
            port = int(environ[SECOND_GATEWAY_VARIABLE])
            own["OVNPAY_GATEWAY_PORT"] = str(port)
        url, probe = _at(url, port), _at(probe, port)
    return service._replace(name=name, environment=own, url=url, probe=probe)


def _at(url: str, port: int) -> str:
    """Return the URL with another port."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition(":")[0] + f":{port}").geturl()


if __name__ == "__main__":
    sys.exit(up(Home.find(os.environ), os.environ, chaos_plan))
