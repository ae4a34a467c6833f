"""A service imports only what it needs, because each process pays for its imports."""

import subprocess
import sys
from pathlib import Path

import pytest

UNUSED = {
    "rich": "structlog's tracebacks with local variables, 4 MB",
    "pygments": "the same",
    "opentelemetry": "Redis' own metrics, 3 MB; tracing imports it where it is configured",
    "alembic": "migrations are a separate job, 20 MB",
    "cryptography.hazmat": "imported with the first encryption, 6.5 MB",
    "sqlalchemy.orm": "only declares the tables, 9 MB; services use SQL",
    "typer": "the command line",
    "click": "the command line",
    "shared.cli": "the command line",
    "jinja2": "no service renders pages",
    "hypothesis": "tests",
    "pytest": "tests",
}
SERVICES = {
    "gateway": ("gateway.__main__", "gateway.serve"),
    "workers": ("workers.__main__", "workers.app"),
    "scheduler": ("scheduler.__main__",),
    "exporter": ("shared.reporting.exporter.__main__",),
}
MEGABYTES_MAX = 86
"""Resident memory before the first request; 70 to 79 when this was written."""

SCRIPT = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
[resident] = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmRSS")]
print(int(resident) // 1024, *sys.modules)
"""


@pytest.mark.parametrize("service", SERVICES)
def test_service_does_not_import_unused_modules(service: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", SCRIPT, *SERVICES[service]],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    megabytes, *modules = answer.stdout.split()
    found = [f"{name}: {why}" for name, why in UNUSED.items() if name in modules]
    assert found == []
    assert int(megabytes) <= MEGABYTES_MAX
