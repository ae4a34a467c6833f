"""Imports run one way: services → shared; never sideways, never up. Inside shared: cli → domain → base."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAY_IMPORT = {
    "gateway": {"gateway", "shared"},
    "workers": {"workers", "shared"},
    "scheduler": {"scheduler", "shared"},
    "shared": {"shared"},
    "deploy/local": {"deploy.local"},
    "deploy/simulator": {"deploy.simulator"},
}
OURS = {"gateway", "workers", "scheduler", "shared", "deploy", "tests"}
BASE = (
    "ledger",
    "counts",
    "customer_events",
    "lists",
    "models",
    "db",
    "pool",
    "pipeline",
    "process_figures",
    "settings",
    "production",
    "crash_points",
    "safeguards",
    "masking",
    "ids",
    "clock",
    "errors",
    "log",
    "broker",
    "dead_letters",
    "exposition",
    "lean",
    "presence",
    "tracing",
    "migrations",
)


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, local imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ([node.module] if node.module != "shared" else [f"shared.{name.name}" for name in node.names])


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_a_folder_imports_only_what_it_may(folder: str) -> None:
    """The gateway never imports workers; the simulator imports nothing of ours."""
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in (ROOT / folder).rglob("*.py")
        for module in imports(path)
        if module.partition(".")[0] in OURS
        and module != "deploy"  # the package itself, for its place on the disk
        and not any(module == may or module.startswith(may + ".") for may in MAY_IMPORT[folder])
    ]
    assert wrong == []


def test_the_base_of_shared_knows_nothing_of_the_domain() -> None:
    """And the domain nothing of the command line."""
    wrong = []
    for path in (ROOT / "shared").rglob("*.py"):
        part = path.relative_to(ROOT / "shared").parts[0].removesuffix(".py")
        for module in imports(path):
            names = module.split(".")
            if names[0] != "shared" or len(names) < 2:
                continue
            if part in BASE and names[1] not in BASE:
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
            if part != "cli" and names[1] == "cli":
                wrong.append(f"{path.relative_to(ROOT)} imports {module}")
    assert wrong == []


def test_the_client_knows_the_public_api_alone() -> None:
    """`ovnpay pay` and its neighbours could run on a clerk's machine: nothing of ours, no database, no broker."""
    client = ROOT / "shared" / "cli" / "client"
    files = [*client.rglob("*.py"), ROOT / "shared" / "cli" / "clients.py"]
    foreign = {"sqlalchemy", "psycopg", "alembic", "redis", "dramatiq", "msgspec"}
    wrong = [
        f"{path.relative_to(ROOT)} imports {module}"
        for path in files
        for module in imports(path)
        if (module.partition(".")[0] in OURS and not (module + ".").startswith("shared.cli.client."))
        or module.partition(".")[0] in foreign
    ]
    assert len(files) > 10
    assert wrong == []


def test_every_module_says_in_its_first_line_what_it_answers() -> None:
    """A docstring, in every file of the product."""
    silent = [
        str(path.relative_to(ROOT))
        for folder in MAY_IMPORT
        for path in (ROOT / folder).rglob("*.py")
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []
