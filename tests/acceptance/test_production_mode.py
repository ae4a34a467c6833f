"""Production mode: it serves with real secrets over its own role, and no service starts without them."""

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
    """As a deployment would set it, on the databases of the running system."""
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


def test_it_serves_and_demands_https(stack: Stack, tmp_path: Path) -> None:
    # Given a gateway as production has it
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
        healthy = until(answer, "it serves")
    finally:
        process.terminate()
        process.wait(15)
    # Then browsers may only come by https, and its log has a doubt about Redis but none about the ledger
    assert healthy.headers["Strict-Transport-Security"] == "max-age=31536000; includeSubDomains"
    said = (tmp_path / "log").read_text()
    assert "OVNPAY_REDIS_URL has no password" in said
    assert "role_too_powerful" not in said


def test_no_service_starts_with_a_secret_that_is_none(stack: Stack) -> None:
    # Given a deployment in which somebody left what the documentation shows
    environment = _environment(stack, OVNPAY_KEY_PEPPER="change-me-change-me-change-me-change-me")
    # When the services are started
    started = {
        name: subprocess.Popen(
            [sys.executable, "-m", name], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for name in SERVICES
    }
    ended = {name: (process.communicate(timeout=30)[0], process.returncode) for name, process in started.items()}
    # Then each says the same in one line, and how to make a real one
    why = "is a placeholder and no secret, which production refuses"
    sentence = f"OVNPAY_KEY_PEPPER {why}; make one with `openssl rand -hex 32`"
    assert ended == {name: (f"ovnpay {name}: {sentence}\n", 2) for name in SERVICES}
