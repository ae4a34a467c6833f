"""Negative controls: each removes one safeguard from the processes that chaos starts, and chaos has to detect that.

`python -m tests.chaos.controls fencing,due_tick workers …` runs the service `workers` without these two. The service's
own code has no switch: a module is patched right after its import, in this process and the ones that it forks.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import runpy
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Final

import sqlalchemy as sa

FENCING: Final = "fencing"
"""A result counts only while the lease's token is still the worker's own."""
WRITE_AHEAD: Final = "write_ahead"
"""A submission is committed before the provider is called."""
DUE_TICK: Final = "due_tick"
"""The scheduler enqueues every due row."""
TRANSITION_GUARD: Final = "transition_guard"
"""A payout makes a transition only from the status that it starts from."""

Patch = Callable[[ModuleType], None]


def _accept_any_token(module: ModuleType) -> None:
    _replace_in_statements(module, "lease_token = :token", "true")


def _accept_any_source(module: ModuleType) -> None:
    _replace_in_statements(module, module.status_condition(":source"), "true")


def _settle_from_any_status(module: ModuleType) -> None:
    statuses = type(next(iter(module.SETTLEMENT_PATHS))[0])
    module.SETTLEMENT_PATHS = {  # type: ignore[attr-defined]
        (status, state): path
        for (source, state), path in module.SETTLEMENT_PATHS.items()
        if source is statuses.PROCESSING
        for status in statuses
    }


def _call_before_commit(module: ModuleType) -> None:
    write_and_lease = module._write_and_lease

    def write_call_and_lease(context: Any, connection: sa.Connection, payout_ids: Any) -> Any:
        submitted = write_and_lease(context, connection, payout_ids)
        context.paystream.call_all([one.call() for one in submitted.leased])  # and a second time after the commit
        return submitted

    module._write_and_lease = write_call_and_lease  # type: ignore[attr-defined]


def _enqueue_nothing(module: ModuleType) -> None:
    module.due_rows.OTHER_KINDS = ()


PATCHES: Final[dict[str, dict[str, Patch]]] = {
    FENCING: {"shared.payouts.submission_leases": _accept_any_token},
    WRITE_AHEAD: {"workers.payouts": _call_before_commit},
    DUE_TICK: {"scheduler.jobs": _enqueue_nothing},
    TRANSITION_GUARD: {
        "shared.payouts.lifecycle": _accept_any_source,
        "shared.payouts.payment_updates": _settle_from_any_status,
    },
}
"""For each control, the modules that it patches."""
CONTROLS: Final = tuple(PATCHES)


def _replace_in_statements(module: ModuleType, old: str, new: str) -> None:
    found = [name for name, value in vars(module).items() if isinstance(value, sa.TextClause) and old in value.text]
    if not found:
        raise LookupError(f"{module.__name__} has no statement with {old!r}")
    for name in found:
        setattr(module, name, sa.text(getattr(module, name).text.replace(old, new)))


class _PatchingFinder(importlib.abc.MetaPathFinder):
    """Patches modules when they are imported."""

    def __init__(self, patches: dict[str, Patch]) -> None:
        self._patches = patches

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Find a module that is to be patched, and let its loader patch it."""
        if fullname not in self._patches:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.loader is not None
        execute, patch = spec.loader.exec_module, self._patches[fullname]

        def execute_and_patch(module: ModuleType) -> None:
            execute(module)
            patch(module)

        spec.loader.exec_module = execute_and_patch  # type: ignore[method-assign]
        return spec


def remove_safeguards(names: str) -> None:
    """Remove the named safeguards, with commas between, from modules that this process imports from now on.

    Raises:
        KeyError: there is no such control.

    """
    patches = {module: patch for name in names.split(",") for module, patch in PATCHES[name].items()}
    sys.meta_path.insert(0, _PatchingFinder(patches))


def main(arguments: Sequence[str]) -> None:
    """Run a service without some safeguards: NAMES MODULE [ARGUMENTS]."""
    names, module, *others = arguments
    remove_safeguards(names)
    sys.argv = [module, *others]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
