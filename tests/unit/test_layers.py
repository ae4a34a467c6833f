"""The rules of the tree: which package may import which, no cycles, no module without a package."""

import ast
from collections.abc import Iterator
from functools import cache
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
PACKAGES = (
    "platform",
    "schema",
    "identity",
    "events",
    "ledger",
    "provider",
    "holds",
    "drivers",
    "payouts",
    "inbox",
    "batches",
    "funding",
    "onboarding",
    "sandbox",
    "controls",
    "operations",
    "reporting",
    "cli",
)
"""The packages of `shared`, in order: each imports only itself and those before it."""


def imports(path: Path) -> Iterator[str]:
    """Yield every module that a file imports, local imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules() else node.module for name in submodules)


@cache
def modules() -> dict[str, Path]:
    """Map each module of the product to its file."""
    found = {}
    for folder in ("shared", "gateway", "workers", "scheduler", "deploy"):
        for path in (ROOT / folder).rglob("*.py"):
            found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    return found


@cache
def graph() -> dict[str, set[str]]:
    """Map each module of the product to the modules of the product that it imports."""
    return {name: {other for other in imports(path) if other in modules()} - {name} for name, path in modules().items()}


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folder_imports_only_what_it_may(folder: str) -> None:
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


def test_no_module_stands_directly_in_shared() -> None:
    assert [path.name for path in (ROOT / "shared").glob("*.py")] == ["__init__.py"]
    folders = {path.parent.name for path in (ROOT / "shared").glob("*/__init__.py")}
    assert folders == set(PACKAGES)


def test_packages_import_in_order() -> None:
    rank = {f"shared.{name}": place for place, name in enumerate(PACKAGES)}

    def package(module: str) -> str:
        return ".".join(module.split(".")[:2])

    upward = [
        f"{module} imports {other}"
        for module, others in sorted(graph().items())
        if package(module) in rank
        for other in sorted(others)
        if rank.get(package(other), -1) > rank[package(module)]
    ]
    assert upward == []


def test_no_files_import_each_other_in_a_circle() -> None:
    finished: set[str] = set()
    path: list[str] = []

    def visit(module: str) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in finished:
            return []
        path.append(module)
        for other in sorted(graph()[module]):
            if circle := visit(other):
                return circle
        path.pop()
        finished.add(module)
        return []

    assert [circle for module in sorted(graph()) if (circle := visit(module))] == []


def test_client_uses_the_public_api_alone() -> None:
    """`ovnpay pay` and its neighbors could run on a clerk's machine: nothing of ours, no database, no broker."""
    files = list((ROOT / "shared" / "cli" / "client").rglob("*.py"))
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


def test_every_module_has_a_docstring() -> None:
    silent = [
        str(path.relative_to(ROOT)) for path in modules().values() if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


LINES_MAX, FUNCTION_LINES_MAX, LINES_MIN = 300, 60, 30
HISTORY = "shared/schema/migrations/versions/"
"""Applied migrations keep their text, whatever its length."""
LONG: dict[str, str] = {}
"""Files of more than `LINES_MAX` lines, each with its reason."""
LONG_FUNCTIONS: dict[str, str] = {}
"""Functions of more than `FUNCTION_LINES_MAX` lines, each with its reason."""
SHORT = {
    "shared/cli/__main__.py": "the entry point of `python -m`",
    "shared/ledger/balances.py": "one query that several packages read",
    "shared/platform/clock.py": "domain functions import it and nothing else of the platform",
    "shared/platform/encryption.py": "the only module that may import the cryptography package",
    "workers/customer_events.py": "one file for each actor, found by the name of its queue",
}
"""Modules of fewer than `LINES_MIN` lines, each with its reason."""


def product_files() -> dict[str, str]:
    """Map the path of each module of the product to its source; applied migrations excepted."""
    files = {str(path.relative_to(ROOT)): path.read_text() for path in modules().values()}
    return {name: text for name, text in files.items() if not name.startswith(HISTORY)}


def test_files_are_neither_long_nor_tiny() -> None:
    """Complexity and the number of parameters are rules of ruff, in pyproject.toml."""
    lines = {name: len(text.splitlines()) for name, text in product_files().items()}
    assert {name for name, count in lines.items() if count > LINES_MAX} == set(LONG)
    modules_only = {name: count for name, count in lines.items() if not name.endswith("__init__.py")}
    assert {name for name, count in modules_only.items() if count < LINES_MIN} == set(SHORT)


def test_functions_are_not_long() -> None:
    long = {
        f"{name}:{node.name}"
        for name, text in product_files().items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= FUNCTION_LINES_MAX
    }
    assert long == set(LONG_FUNCTIONS)
