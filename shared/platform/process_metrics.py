"""Figures of several processes: the folder in which they count, and in which a count outlives whoever counted.

Each process has files of its own there, which the kernel keeps whatever it dies of; the exposition adds them up. The
folder has to be in the environment before prometheus_client is imported: that decides then how it counts.
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
"""The process id under which the counts of processes of before are kept: no process of ours has it."""


@contextlib.contextmanager
def open_metrics_folder(kept_in: str, pool: str) -> Iterator[Path]:
    """Makes the folder of a pool of processes, and sets the environment for them.

    Below `kept_in` it stays, and the pool's next life counts on from there: Dramatiq ends a whole pool where one of its
    processes is killed. Where that is "", or another pool has taken the name, it lasts as long as this one.
    """
    with contextlib.ExitStack() as stack:
        folder = _kept(Path(kept_in) / pool, stack) if kept_in else None
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="ovnpay-metrics-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
        os.environ[METRICS_FOLDER_VARIABLE] = str(folder)
        merge_ended_counts(folder)
        yield folder


def _kept(folder: Path, stack: contextlib.ExitStack) -> Path | None:
    """The folder, locked until the stack is closed; None where somebody else has it."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = stack.enter_context((folder / "lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.register_at_fork(after_in_child=lock.close)  # a child that outlives us must not keep the name from the next
    except OSError:
        return None
    return folder


def merge_ended_counts(folder: Path) -> None:
    """Adds up the counts of processes of before in one file of each kind, and forgets their gauges.

    Only before any process counts there. Ended in its midst it has lost counts, never doubled them: the monitoring
    knows counters that begin again.
    """
    from prometheus_client.mmap_dict import MmapedDict

    sums: dict[str, dict[str, float]] = {}
    for path in sorted(folder.glob("*.db")):
        kind = path.name.partition("_")[0]
        if kind != "gauge":
            of_kind = sums.setdefault(kind, defaultdict(float))
            # A file that was cut off, as by a full disk, is left out.
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
    """Deletes what processes that are no more say of their present; a killed one could not do it itself."""
    for path in folder.glob("gauge_live*.db"):
        pid = path.stem.rpartition("_")[2]
        if not Path(f"/proc/{pid}").exists() and Path("/proc/self").exists():
            path.unlink(missing_ok=True)
