"""Metrics of several processes: the folder where they count. Counts outlive the process that counted.

Each process has its own files there, also after it was killed; the metrics server adds them up. The folder must be in
the environment before prometheus_client is imported.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

METRICS_FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
MERGED_PID: Final = 0
"""The process id that merged counts of ended processes are kept under; no process has it."""


@contextlib.contextmanager
def open_metrics_folder(kept_in: str, pool: str) -> Iterator[Path]:
    """Create a pool's metrics folder and set it in the environment.

    Below `kept_in` the folder persists across restarts. If that is empty, or another pool uses the name, the folder is
    temporary.
    """
    with contextlib.ExitStack() as stack:
        folder = _lock_folder(Path(kept_in) / pool, stack) if kept_in else None
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="ovnpay-metrics-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        os.environ[METRICS_FOLDER_VARIABLE] = str(folder)
        merge_ended_counts(folder)
        yield folder


def _lock_folder(folder: Path, stack: contextlib.ExitStack) -> Path | None:
    """Create and lock the folder until the stack is closed; None if another pool has it locked."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = stack.enter_context((folder / "lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.register_at_fork(after_in_child=lock.close)  # or a child that outlives this process would keep the lock
    except OSError:
        return None
    return folder


def merge_ended_counts(folder: Path) -> None:
    """Merge the counts of ended processes into one file of each kind, before any process counts in the folder.

    An interrupted merge loses counts and never doubles them.
    """
    from prometheus_client.mmap_dict import MmapedDict

    sums: dict[str, dict[str, float]] = {}
    for path in sorted(folder.glob("*.db")):
        kind = path.name.partition("_")[0]
        if kind != "gauge":
            of_kind = sums.setdefault(kind, defaultdict(float))
            # A truncated file, as after a full disk, is skipped.
            with contextlib.suppress(Exception):
                for key, value, _, _ in list(MmapedDict.read_all_values_from_file(path)):  # type: ignore[no-untyped-call]
                    of_kind[key] += value
        path.unlink()
    for kind, of_kind in sums.items():
        file = MmapedDict(str(folder / f"{kind}_{MERGED_PID}.db"))  # type: ignore[no-untyped-call]
        for key, value in of_kind.items():
            file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
        file.close()  # type: ignore[no-untyped-call]


def delete_stale_gauges(folder: Path) -> None:
    """Delete the live gauges of ended processes; a killed process could not do it itself."""
    for path in folder.glob("gauge_live*.db"):
        pid = path.stem.rpartition("_")[2]
        if not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            path.unlink(missing_ok=True)
