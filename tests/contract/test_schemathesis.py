"""Schemathesis against the gateway and its own OpenAPI document, with all of its checks.

`SCHEMATHESIS_EXAMPLES=200 make test-long ARGS=-ktest_schemathesis` tries more examples of each operation.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.organization import Organization
from tests.support.report_lines import report
from tests.support.stack import Stack

pytestmark = pytest.mark.long

HERE = Path(__file__).parent
EXAMPLES = os.environ.get("SCHEMATHESIS_EXAMPLES", "6")


@pytest.mark.timeout(900)
def test_schemathesis_finds_no_violation(fast_stack: Stack, tmp_path: Path) -> None:
    # Given an API key of one organization and the session of another one's owner, who may revoke keys
    payer, administrator = Organization(fast_stack), Organization(fast_stack)
    carrier = payer.sandbox()
    carrier.fund(10_000_000)
    # When every operation is called with data that its schema allows and data that it forbids
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(HERE / "schemathesis.toml"),
        "run",
        f"{fast_stack['gateway']}/openapi.json",
        "--max-examples",
        EXAMPLES,
    ]
    environment = {
        **os.environ,
        "OVN_API_KEY": carrier.headers["Authorization"].removeprefix("Bearer "),
        "OVN_SESSION": administrator.owner.token,
        "SCHEMATHESIS_HOOKS": "tests.contract.schemathesis_hooks",
        "PYTHONPATH": str(HERE.parents[1]),
        "NO_COLOR": "1",
    }
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    # Then no check fails
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    closing = done.stdout[done.stdout.rindex("= SUMMARY =") :].splitlines()[1:]
    report("Schemathesis:", *(f"  {line}" for line in closing if line.strip()))
