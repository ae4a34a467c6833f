"""Every command of the READMEs and runbooks can be pasted: each runs against a stack, in the project's folder.

Blocks that need a cluster or a server (```` ```sh kubernetes ````, ```` ```sh server ````) only have their `ovnpay`
commands checked, by `tests/unit/test_runbooks.py`.
"""

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from tests.support.customer import Customer
from tests.support.documents import DOCUMENTS, ROOT, RUNBOOKS, fenced_blocks
from tests.support.stack import Stack, running_stack

ALIAS = "alias ovnpay=$PWD/.venv/bin/ovnpay"
WITH_COMMANDS = [path for path in DOCUMENTS if any(block[:2] == ("sh", "") for block in fenced_blocks(path))]
WITH_SQL = [path for path in RUNBOOKS.values() if any(block.language == "sql" for block in fenced_blocks(path))]

READ_ONLY = re.compile(r"ovnpay (doctor|queues|payouts show|verify|dead list|pause --list|.* --help)")
HAS_RUN: set[str] = set()


class Project(NamedTuple):
    """A folder as `make up` leaves it: a virtual environment and a running stack."""

    folder: Path
    stack: Stack

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Paste a script into a shell in the folder; it stops at the first command that fails."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith("OVNPAY_")}
        script = f"set -e -o pipefail; shopt -s expand_aliases\n{script}"
        return subprocess.run(
            ["bash", "-c", script], cwd=self.folder, env=clean | variables, capture_output=True, text=True, timeout=280
        )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    folder = tmp_path_factory.mktemp("project")
    (folder / ".venv").symlink_to(sys.prefix)
    home = folder / ".ovnpay"
    home.mkdir()
    with running_stack(home) as stack:
        yield Project(folder, stack)


@pytest.fixture(scope="module")
def paid(project: Project) -> dict[str, str]:
    """The ids of a verified driver and of a completed payout."""
    customer = Customer(project.stack["gateway"], project.stack["sandbox_key"])
    driver_id = customer.verified_driver()["id"]
    payout_id = customer.pay(driver_id, 1_000)["id"]
    customer.until_payout(payout_id, "completed")
    return {"DRIVER": driver_id, "PAYOUT": payout_id}


def queued_batch(stack: Stack, driver_id: str) -> str:
    """Create a batch that waits for its release, and return its id."""
    customer = Customer(stack["gateway"], stack["sandbox_key"])
    payout = {"driverId": driver_id, "amount": 1_000, "description": uuid.uuid4().hex}
    body = {"name": "A batch", "urgency": "standard", "payouts": [payout]}
    return str(customer.post("/api/v1/batches", body).data["id"])


def new_key(stack: Stack) -> str:
    """Create an API key, and return its id."""
    visitor = Customer(stack["gateway"], key="")
    owner = Customer(stack["gateway"], visitor.post("/api/v1/auth/login", stack["owner"]).data["token"])
    body = {"name": "To be revoked", "mode": "sandbox", "scopes": ["balance:read"]}
    return str(owner.post("/api/v1/developer/keys", body).body["id"])


def lines_to_run(document: Path) -> list[str]:
    """Return the lines of a document's blocks, without commands that only read and ran for another document."""
    lines = [
        line
        for block in fenced_blocks(document)
        if block[:2] == ("sh", "")
        for line in block.body.splitlines()
        if not (READ_ONLY.match(line) and line.partition("#")[0].strip() in HAS_RUN)
    ]
    HAS_RUN.update(line.partition("#")[0].strip() for line in lines)
    return lines


@pytest.mark.timeout(300)
@pytest.mark.parametrize("document", WITH_COMMANDS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_of_a_document_can_be_pasted(project: Project, paid: dict[str, str], document: Path) -> None:
    variables = paid | {"BATCH": queued_batch(project.stack, paid["DRIVER"]), "KEY": new_key(project.stack)}
    done = project.run("\n".join(["set -x", ALIAS, *lines_to_run(document)]), **variables)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-3_000:]


@pytest.mark.parametrize("document", WITH_SQL, ids=lambda path: path.name)
def test_sql_of_a_runbook_only_reads(project: Project, document: Path) -> None:
    statements = [block.body for block in fenced_blocks(document) if block.language == "sql"]
    with psycopg.connect(project.stack["service_database_url"]) as connection:
        connection.execute("SET TRANSACTION READ ONLY")
        for statement in statements:
            connection.execute(re.sub(r":'\w+'", f"'{uuid.uuid4()}'", statement))  # type: ignore[call-overload]


@pytest.mark.parametrize("document", ["README.md", "shared/cli/README.md", "deploy/runbooks/README.md"])
def test_documents_say_how_to_call_ovnpay(document: str) -> None:
    assert ALIAS in (ROOT / document).read_text()


def test_doctor_finds_the_local_stack_and_nothing_wrong(project: Project) -> None:
    done = project.run(".venv/bin/ovnpay doctor --json")
    assert f"using the local stack in {project.stack.home}" in done.stderr
    findings = json.loads(done.stdout)["findings"]
    assert [finding for finding in findings if finding["level"] != "ok"] == []
    assert len(findings) >= 10


@pytest.mark.parametrize(
    "command",
    [
        "queues --json",
        "verify --json",
        "pause --list --json",
        "retention --json",
        "dead list --json",
        "reconcile --json",
    ],
)
def test_operator_command_prints_only_json_to_stdout(project: Project, command: str) -> None:
    done = project.run(f".venv/bin/ovnpay {command}")
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    assert done.stderr.count("using the local stack in") == 1
