"""The plan of `ovnpay up`: services, order, environment. The developer's settings override the defaults."""

import json
import socket
from pathlib import Path

import pytest

from deploy.local import ports
from deploy.local.home import Home
from deploy.local.plan import make_plan
from deploy.local.service import Service

_ANY_PORTS = {port.variable: "0" for port in ports.PORTS}
_CREDENTIALS = {
    "sandbox_key": "ovnp_sbox_kept",
    "production_key": "ovnp_prod_kept",
    "owner": {"email": "owner@example.com", "password": "kept"},
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    assert home.take()
    return home


def planned(home: Home, **environ: str) -> dict[str, Service]:
    return {service.name: service for service in make_plan(home, {**_ANY_PORTS, **environ}).services}


def test_services_are_planned_in_start_order(home: Home) -> None:
    assert list(planned(home)) == [
        "postgres", "valkey", "bootstrap", "paystream", "exporter", "workers", "scheduler", "gateway"
    ]  # fmt: skip


def test_given_server_replaces_the_embedded_one(home: Home, tmp_path: Path) -> None:
    (tmp_path / "redis").write_text("redis://elsewhere:6379/0\n")
    plan = make_plan(
        home,
        {
            **_ANY_PORTS,
            "OVNPAY_DATABASE_URL": "postgresql://elsewhere/pay",
            "OVNPAY_REDIS_URL_FILE": str(tmp_path / "redis"),
            "OVNPAY_PAYSTREAM_URL": "https://paystream.example",
        },
    )

    assert [service.name for service in plan.services] == ["bootstrap", "exporter", "workers", "scheduler", "gateway"]
    assert plan.description["database_url"] == "postgresql://elsewhere/pay"
    assert plan.description["redis_url"] == "redis://elsewhere:6379/0"
    assert plan.services[-1].environment["OVNPAY_PAYSTREAM_URL"] == "https://paystream.example"
    assert not (home.path / "postgres").exists()


def test_exported_settings_override_the_defaults(home: Home) -> None:
    exported = {
        "OVNPAY_KEY_PEPPER": "my own",
        "OVNPAY_POLL_AFTER_INSTANT_SECONDS": "7",
        "PAYSTREAM_SIM_REQUESTS_PER_HOUR": "1000",
        "PAYSTREAM_SIM_WEBHOOK_URL": "http://127.0.0.1:1/elsewhere",
    }
    services = planned(home, **exported)

    environment = services["paystream"].environment
    assert {name: environment[name] for name in exported} == exported
    assert environment["PAYSTREAM_SIM_FUNDING_PER_MINUTE"] == "0"
    assert services["gateway"].environment["OVNPAY_KEY_PEPPER"] == "my own"


def test_services_and_simulator_share_urls_and_secrets(home: Home) -> None:
    services = planned(home)
    gateway, paystream = services["gateway"].environment, services["paystream"].environment

    assert paystream["PAYSTREAM_SIM_WEBHOOK_URL"] == f"{services['gateway'].url}/api/v1/webhooks/paystream"
    assert paystream["PAYSTREAM_SIM_WEBHOOK_SECRET"] == gateway["OVNPAY_PAYSTREAM_WEBHOOK_SECRET"]
    assert paystream["PAYSTREAM_SIM_TEST_KEY"] == gateway["OVNPAY_PAYSTREAM_TEST_KEY"]
    assert gateway["OVNPAY_PAYSTREAM_URL"] == services["paystream"].url


def test_secrets_and_credentials_are_created_once(home: Home) -> None:
    # Given a first start, whose job printed credentials
    first = planned(home)
    assert "OVNPAY_BOOTSTRAP" not in first["bootstrap"].environment
    assert first["bootstrap"].on_output
    first["bootstrap"].on_output(f"a line before\n{json.dumps(_CREDENTIALS)}\n")

    # Then the next one hands them back, under the same pepper
    again = planned(home)
    assert json.loads(again["bootstrap"].environment["OVNPAY_BOOTSTRAP"]) == _CREDENTIALS
    for name in ("OVNPAY_KEY_PEPPER", "OVNPAY_PAYSTREAM_WEBHOOK_SECRET", "OVNPAY_PAYSTREAM_LIVE_KEY"):
        assert again["gateway"].environment[name] == first["gateway"].environment[name]
    assert (home.path / "secrets.json").stat().st_mode & 0o777 == 0o600
    assert (home.path / "postgres" / "password").stat().st_mode & 0o777 == 0o600


def test_job_output_without_credentials_is_an_error(home: Home) -> None:
    keep = planned(home)["bootstrap"].on_output
    assert keep
    with pytest.raises(ValueError, match="no credentials"):
        keep("{}")


def test_ports_are_distinct_and_reusable_at_once() -> None:
    wanted = [ports.Port(name, f"PORT_{name}", 0) for name in "abcdefgh"]
    chosen, notes = ports.choose(wanted, {}, "127.0.0.1")

    assert len(set(chosen.values())) == len(wanted)
    assert notes == []
    with socket.create_server(("127.0.0.1", chosen["a"])):
        pass


@pytest.mark.parametrize("text", ["http", "-1", "70000", "80.0"])
def test_invalid_port_is_an_error_that_names_it(text: str) -> None:
    with pytest.raises(ports.PortError, match="OVNPAY_GATEWAY_PORT must be a port"):
        ports.choose(ports.PORTS, {"OVNPAY_GATEWAY_PORT": text}, "127.0.0.1")


def test_home_is_the_projects_from_any_folder_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "deep" / "inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "deep" / "inside")

    assert Home.find({}).path == tmp_path.resolve() / ".ovnpay"
    assert Home.find({"OVNPAY_HOME": str(tmp_path / "other")}).path == tmp_path.resolve() / "other"


def test_only_the_migration_job_has_the_owners_url(home: Home) -> None:
    plan = make_plan(home, _ANY_PORTS)
    environments = {service.name: service.environment for service in plan.services}

    assert environments["bootstrap"]["OVNPAY_MIGRATION_DATABASE_URL"].startswith("postgresql://ovnpay:")
    assert plan.description["database_url"] == environments["bootstrap"]["OVNPAY_MIGRATION_DATABASE_URL"]
    for name in ("bootstrap", "gateway", "workers", "scheduler"):
        assert environments[name]["OVNPAY_DATABASE_URL"] == plan.description["service_database_url"]
        assert environments[name]["OVNPAY_DATABASE_URL"].startswith("postgresql://ovnpay_app:")
    owners = json.dumps(environments["bootstrap"]["OVNPAY_MIGRATION_DATABASE_URL"])
    assert [name for name, given in environments.items() if owners in json.dumps(dict(given))] == ["bootstrap"]


def test_given_server_may_have_a_separate_owner(home: Home) -> None:
    given = {"OVNPAY_DATABASE_URL": "postgresql://app@elsewhere/pay", "OVNPAY_REDIS_URL": "redis://elsewhere/0"}
    owner = {"OVNPAY_MIGRATION_DATABASE_URL": "postgresql://owner@elsewhere/pay"}

    services = planned(home, **given, **owner)

    assert services["bootstrap"].environment["OVNPAY_MIGRATION_DATABASE_URL"] == "postgresql://owner@elsewhere/pay"
    assert services["gateway"].environment["OVNPAY_MIGRATION_DATABASE_URL"] == ""
    assert planned(home, **given)["bootstrap"].environment["OVNPAY_MIGRATION_DATABASE_URL"] == ""
