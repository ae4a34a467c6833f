"""Production mode: the gateway serves with real secrets and its own role; no service starts with a placeholder."""

import os
import subprocess
import sys
from pathlib import Path

from tests.support.http_client import Answer, call
from tests.support.polling import until
from tests.support.ports import free_port
from tests.support.stack import Stack

SERVICES = ("gateway", "workers", "scheduler")


def _environment(stack: Stack, **changes: str) -> dict[str, str]:
    """Return the environment of a deployment on the servers of the running system."""
    return os.environ | {
        "OVNPAY_ENVIRONMENT": "production",
        "OVNPAY_DATABASE_URL": stack["service_database_url"],
        "OVNPAY_REDIS_URL": stack["redis_url"],
        "OVNPAY_PAYSTREAM_URL": stack["paystream"],
        "OVNPAY_PAYSTREAM_TEST_KEY": stack["paystream_keys"]["test"],
        "OVNPAY_PAYSTREAM_LIVE_KEY": stack["paystream_keys"]["live"],
        "OVNPAY_PAYSTREAM_WEBHOOK_SECRET": stack["webhook_secret"],
        "OVNPAY_KEY_PEPPER": os.urandom(32).hex(),
        "OVNPAY_GATEWAY_PORT": str(free_port()),
        "OVNPAY_GATEWAY_METRICS_PORT": str(free_port()),
        **changes,
    }


def test_gateway_serves_and_requires_https(stack: Stack, tmp_path: Path) -> None:
    # Given a gateway in production mode
    environment = _environment(stack)
    url = f"http://127.0.0.1:{environment['OVNPAY_GATEWAY_PORT']}"
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "gateway"], env=environment, stderr=log)
    try:

        def answer() -> Answer | None:
            assert process.poll() is None, (tmp_path / "log").read_text()
            try:
                return call(url, "GET", "/health")
            except OSError:
                return None

        # When it serves
        healthy = until(answer, "the gateway serves")
    finally:
        process.terminate()
        process.wait(15)
    # Then browsers must use HTTPS, and the log warns about Redis but not about the database role
    assert healthy.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    logged = (tmp_path / "log").read_text()
    assert "OVNPAY_REDIS_URL has no password" in logged
    assert "role_too_powerful" not in logged


def test_no_service_starts_with_a_placeholder_secret(stack: Stack) -> None:
    # Given a deployment with the pepper of the documentation
    environment = _environment(stack, OVNPAY_KEY_PEPPER="change-me-change-me-change-me-change-me")
    # When the services are started
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", name], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name in SERVICES
    }
    ended = {name: (process.communicate(timeout=30)[0], process.returncode) for name, process in started.items()}
    # Then each prints the same line with a remedy, and exits with 2
    why = "is a placeholder, which production refuses"
    sentence = f"OVNPAY_KEY_PEPPER {why}; generate one with `openssl rand -hex 32`"
    assert ended == {name: (f"ovnpay {name}: {sentence}\n", 2) for name in SERVICES}
