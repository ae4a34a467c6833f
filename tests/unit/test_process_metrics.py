"""Counts outlive the process that counted, live gauges do not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from shared.platform.metrics_server import multiprocess_registry
from shared.platform.process_metrics import METRICS_FOLDER_VARIABLE, merge_ended_counts, open_metrics_folder

COUNTING = """
import os, signal
from prometheus_client import Counter, Gauge, Histogram
Counter("jobs", "Jobs.", ["kind"]).labels("a").inc(3)
Histogram("seconds", "Seconds.", buckets=(1, 10)).observe(5)
Gauge("busy", "Busy.", multiprocess_mode="livesum").set(1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def count_and_die(folder: Path) -> None:
    """Run a process that counts and is killed before its exit handlers run."""
    done = subprocess.run(
        [sys.executable, "-c", COUNTING], env={**os.environ, METRICS_FOLDER_VARIABLE: str(folder)}, check=False
    )
    assert done.returncode == -signal.SIGKILL


def sample_lines(folder: Path) -> list[str]:
    """Return the metrics of the folder, without descriptions."""
    lines = generate_latest(multiprocess_registry(folder)).decode().splitlines()
    return sorted(line for line in lines if not line.startswith("#"))


def test_counts_of_killed_processes_stay_and_their_gauges_go(tmp_path: Path) -> None:
    count_and_die(tmp_path)
    count_and_die(tmp_path)

    assert sample_lines(tmp_path) == [
        'jobs_total{kind="a"} 6.0',
        'seconds_bucket{le="+Inf"} 2.0',
        'seconds_bucket{le="1.0"} 0.0',
        'seconds_bucket{le="10.0"} 2.0',
        "seconds_count 2.0",
        "seconds_sum 10.0",
    ]


def test_restarted_pool_continues_its_counts_in_one_file_of_each_kind(tmp_path: Path) -> None:
    # Given a pool whose processes were all killed
    with open_metrics_folder(str(tmp_path), "workers-1") as folder:
        count_and_die(folder)
        count_and_die(folder)
        before = sample_lines(folder)
    # When it is started twice more
    for _ in range(2):
        with open_metrics_folder(str(tmp_path), "workers-1") as again:
            assert again == folder
            # Then its counts are unchanged, in one file of each kind
            assert sample_lines(again) == before
            assert sorted(path.name for path in again.glob("*.db")) == ["counter_0.db", "histogram_0.db"]
    os.environ.pop(METRICS_FOLDER_VARIABLE, None)


def test_second_pool_of_the_same_name_gets_another_folder(tmp_path: Path) -> None:
    with (
        open_metrics_folder(str(tmp_path), "workers-1") as first,
        open_metrics_folder(str(tmp_path), "workers-1") as second,
    ):
        assert second != first
    assert first.exists()
    assert not second.exists()
    os.environ.pop(METRICS_FOLDER_VARIABLE, None)


def test_truncated_file_does_not_affect_others(tmp_path: Path) -> None:
    count_and_die(tmp_path)
    (tmp_path / "counter_99999999.db").write_bytes(b"\xff\xff\xff")

    merge_ended_counts(tmp_path)

    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(tmp_path))
    assert b'jobs_total{kind="a"} 3.0' in generate_latest(registry)
