"""What our services don't carry along: each process pays for what it imports, and there are many processes."""

import subprocess
import sys
from pathlib import Path

import pytest

NOBODY_NEEDS = {
    "rich": "structlog's tracebacks with local variables, 4 MB",
    "pygments": "the same",
    "opentelemetry": "Redis' own figures, 3 MB; traces import it where somebody collects them",
    "alembic": "migrations are a job of their own, 20 MB",
    "cryptography.hazmat": "until something is sealed or unsealed, 6.5 MB",
    "sqlalchemy.orm": "the tables are declared with it, 9 MB; services ask in SQL",
    "typer": "the command line",
    "click": "the command line",
    "shared.cli": "the command line",
    "jinja2": "no service has pages",
    "hypothesis": "tests",
    "pytest": "tests",
}
SERVICES = {
    "gateway": ("gateway.__main__", "gateway.serve"),
    "workers": ("workers.__main__", "workers.app"),
    "scheduler": ("scheduler.__main__",),
    "exporter": ("shared.reporting.exporter.__main__",),
}
MB_MOST = 86
"""Loaded and before its first request; about 70 to 79 when this was written. Twenty more are room for the work."""

SCRIPT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
[resident] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")]
print(int(resident) // 1024, *sys.modules)
"""


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_imports_what_it_needs(service: str) -> None:
    """What is on the list was there once, or is what a hasty import brings in."""
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, *SERVICES[service]],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    megabytes, *modules = answer.stdout.split()
    superfluous = [f"{name}: {why}" for name, why in NOBODY_NEEDS.items() if name in modules]
    assert superfluous == []
    assert int(megabytes) <= MB_MOST
