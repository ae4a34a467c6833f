"""docker-compose.yml: containers are hardened, secrets are files, and everything it names exists.

`make manifests` checks the file with Docker Compose itself.
"""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.simulator.options import Options
from shared.cli.main import app
from shared.platform.settings import Settings
from shared.platform.task_queue import QUEUES

ROOT = Path(__file__).parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("ovnpay:")}
COMMANDS = {info.name or info.callback.__name__ for info in app.registered_commands if info.callback}


@pytest.mark.parametrize("name", SERVICES)
def test_container_is_unprivileged_and_read_only(name: str) -> None:
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
    assert (service["read_only"], service["cap_drop"], service["init"]) == (True, ["ALL"], True)
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "cap_add", "pid", "network_mode"} & service.keys()
    assert re.search(r":(\S*\d)", service["image"]), "images have a version"
    assert service["image"].rpartition(":")[2] != "latest"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "published on this machine only, behind a proxy with TLS"


@pytest.mark.parametrize("name", SERVICES)
def test_container_has_a_health_check_that_its_dependents_wait_for(name: str) -> None:
    service = SERVICES[name]
    if service.get("command") != ["migrate"]:  # a one-off job
        assert {"test", "interval", "timeout", "retries"} <= service["healthcheck"].keys()
    for needed, how in service.get("depends_on", {}).items():
        ends = SERVICES[needed].get("command") == ["migrate"]
        assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")


@pytest.mark.parametrize("name", SERVICES)
def test_secrets_are_declared_files(name: str) -> None:
    service = SERVICES[name]
    for variable, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|PEPPER|_KEY|DATABASE_URL|REDIS_URL", variable):
            assert variable.endswith("_FILE"), variable
            assert value.removeprefix("/run/secrets/") in service["secrets"]
    assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()


@pytest.mark.parametrize("name", OURS)
def test_commands_and_settings_of_our_containers_exist(name: str) -> None:
    """A misspelled setting would have no effect."""
    service = OURS[name]
    command, *options = service["command"]
    assert command in COMMANDS
    assert set(options) <= {"--queues", *QUEUES, ",".join(options[1:])}
    for variable in service["environment"]:
        prefix, fields = ("OVNPAY_", Settings.__struct_fields__)
        if variable.startswith("PAYSTREAM_SIM_"):
            prefix, fields = "PAYSTREAM_SIM_", tuple(Options.__dataclass_fields__)
        assert variable.removeprefix(prefix).removesuffix("_FILE").lower() in fields, variable


def test_every_queue_has_exactly_one_pool() -> None:
    queues = [
        queue
        for service in OURS.values()
        if service["command"][0] == "workers"
        for queue in service["command"][2].split(",")
    ]
    assert sorted(queues) == sorted(QUEUES)


def test_every_metrics_server_listens_on_the_configured_host() -> None:
    """In a container, Prometheus can't reach 127.0.0.1."""
    sources = [
        path for folder in ("gateway", "workers", "scheduler", "shared") for path in (ROOT / folder).rglob("*.py")
    ]
    servers = {str(path): text for path in sources if " MetricsServer(" in (text := path.read_text())}
    assert len(servers) >= 3
    assert [name for name, text in servers.items() if "settings.metrics_host" not in text] == []


def test_script_creates_every_secret_once(tmp_path: Path) -> None:
    """A second run keeps them: another pepper would invalidate every API key."""
    script = ROOT / "deploy" / "compose" / "secrets"
    subprocess.run([script, tmp_path], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    subprocess.run([script, tmp_path], check=True, capture_output=True)
    assert made.keys() == COMPOSE["secrets"].keys()
    assert made == {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(set(made.values())) == len(made)
    assert tmp_path.stat().st_mode & 0o077 == 0
