"""docker-compose.yml: is every container hardened, every secret a file, and does everything that it names exist?

Whether Docker Compose itself takes the file is asked by `make manifests`.
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
def test_a_container_is_nobody_and_writes_nowhere(name: str) -> None:
    """A stranger's code in one of them finds neither a user, nor a capability, nor a file that it could change."""
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:\d+", service["user"])
    assert (service["read_only"], service["cap_drop"], service["init"]) == (True, ["ALL"], True)
    assert "no-new-privileges:true" in service["security_opt"]
    assert not {"privileged", "cap_add", "pid", "network_mode"} & service.keys()
    assert re.search(r":(\S*\d)", service["image"]), "an image is named by its version"
    assert service["image"].rpartition(":")[2] != "latest"
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:"), "reached from this machine alone; a proxy with TLS stands before it"


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_says_how_it_is(name: str) -> None:
    """By a health check; whoever needs it waits for that, and not for a container that merely runs."""
    service = SERVICES[name]
    if service.get("command") != ["migrate"]:  # which ends by itself
        assert {"test", "interval", "timeout", "retries"} <= service["healthcheck"].keys()
    for needed, how in service.get("depends_on", {}).items():
        ends = SERVICES[needed].get("command") == ["migrate"]
        assert how["condition"] == ("service_completed_successfully" if ends else "service_healthy")


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_is_in_the_file(name: str) -> None:
    """Whatever is secret is a file of its own, given to whom it is for; all that are given are declared."""
    service = SERVICES[name]
    for variable, value in service.get("environment", {}).items():
        if re.search(r"PASSWORD|SECRET|PEPPER|_KEY|DATABASE_URL|REDIS_URL", variable):
            assert variable.endswith("_FILE"), variable
            assert value.removeprefix("/run/secrets/") in service["secrets"]
    assert set(service.get("secrets", [])) <= COMPOSE["secrets"].keys()


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_given_commands_and_settings_that_exist(name: str) -> None:
    """A setting with a slip in its name would be silently without effect."""
    service = OURS[name]
    command, *options = service["command"]
    assert command in COMMANDS
    assert set(options) <= {"--queues", *QUEUES, ",".join(options[1:])}
    for variable in service["environment"]:
        prefix, fields = ("OVNPAY_", Settings.__struct_fields__)
        if variable.startswith("PAYSTREAM_SIM_"):
            prefix, fields = "PAYSTREAM_SIM_", tuple(Options.__dataclass_fields__)
        assert variable.removeprefix(prefix).removesuffix("_FILE").lower() in fields, variable


def test_every_queue_is_heard_once() -> None:
    """By one pool each: one that nobody hears would wait for ever."""
    heard = [
        queue
        for service in OURS.values()
        if service["command"][0] == "workers"
        for queue in service["command"][2].split(",")
    ]
    assert sorted(heard) == sorted(QUEUES)


def test_every_operators_port_can_be_opened_to_prometheus() -> None:
    """In a container 127.0.0.1 is the container's own: who serves figures listens where OVNPAY_METRICS_HOST says."""
    sources = [
        path for folder in ("gateway", "workers", "scheduler", "shared") for path in (ROOT / folder).rglob("*.py")
    ]
    opened = {str(path): text for path in sources if " Exposition(" in (text := path.read_text())}
    assert len(opened) >= 3
    assert [name for name, text in opened.items() if "settings.metrics_host" not in text] == []


def test_every_secret_is_made(tmp_path: Path) -> None:
    """By deploy/compose/secrets, each for itself, and never twice: another pepper would lock every key out."""
    script = ROOT / "deploy" / "compose" / "secrets"
    subprocess.run([script, tmp_path], check=True, capture_output=True)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    subprocess.run([script, tmp_path], check=True, capture_output=True)
    assert made.keys() == COMPOSE["secrets"].keys()
    assert made == {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert len(set(made.values())) == len(made)
    assert tmp_path.stat().st_mode & 0o077 == 0
