"""The stack that `ovnpay up` runs on this machine."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

HOME_VARIABLE: Final = "OVNPAY_HOME"


class LocalStack(NamedTuple):
    """A running stack."""

    home: Path
    description: Mapping[str, Any]
    """The content of stack.json."""

    @property
    def settings(self) -> dict[str, str]:
        """`OVNPAY_…` variables that the services of the stack run with."""
        settings = self.description.get("settings")
        return {str(name): str(value) for name, value in settings.items()} if isinstance(settings, dict) else {}


def find_local_stack(environ: Mapping[str, str], folder: Path) -> LocalStack | None:
    """Return the stack of OVNPAY_HOME, else of `.ovnpay` in this folder or its project."""
    if home := environ.get(HOME_VARIABLE):
        return _load_stack(folder / Path(home).expanduser())
    project = next((parent for parent in folder.parents if (parent / "pyproject.toml").exists()), folder)
    return _load_stack(folder / ".ovnpay") or _load_stack(project / ".ovnpay")


def _load_stack(home: Path) -> LocalStack | None:
    try:
        description = json.loads((home / "stack.json").read_text())
    except (OSError, ValueError):
        return None
    return LocalStack(home, description) if isinstance(description, dict) and _is_running(description) else None


def _is_running(description: Mapping[str, Any]) -> bool:
    processes = description.get("processes")
    pid = processes.get("stack") if isinstance(processes, dict) else None
    if not isinstance(pid, int):
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
