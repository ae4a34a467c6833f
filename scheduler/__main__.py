"""`python -m scheduler`: the timetable under APScheduler.

Interval jobs without a job store: a missed run is caught up once, never dropped, and two runs of a job never overlap.
"""

import argparse
import signal
import sys
import threading
import time
from datetime import UTC, datetime
from functools import partial

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_EXECUTED, EVENT_JOB_MAX_INSTANCES, JobEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.schedulers.background import BackgroundScheduler
from prometheus_client import REGISTRY, Counter

from scheduler.jobs import Jobs
from scheduler.timetable import TIMETABLE
from shared.controls.reconciliation import database_identity
from shared.operations import startup
from shared.platform import logs, process_memory
from shared.platform.clock import SystemClock
from shared.platform.database import make_engine
from shared.platform.metrics_server import MetricsServer
from shared.platform.registered_consumers import SCHEDULER_ROLE, Heartbeat
from shared.platform.settings import Settings, SettingsError
from shared.platform.settings_loading import load_settings
from shared.platform.task_queue import TaskSender

logger = structlog.get_logger(__name__)

THREADS = 6
"""Concurrent jobs: the tick never waits for a long one, such as a reconciliation."""
CONNECTIONS = THREADS + 1
"""Database connections of a scheduler: one for each thread, and one that only holds an advisory lock."""

RUNS = Counter(
    "ovnpay_scheduler_runs_total",
    "Runs of the timetable's jobs: done, failed, or skipped because the previous run had not ended.",
    ["task", "outcome"],
)
OUTCOMES = {EVENT_JOB_EXECUTED: "done", EVENT_JOB_ERROR: "failed", EVENT_JOB_MAX_INSTANCES: "skipped"}

STALE_SECONDS = 15.0
"""The scheduler is unhealthy if its last tick is older."""


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="ovnpay scheduler", description="Enqueue due work, check invariants, run periodic jobs."
    )
    parser.parse_args(arguments)
    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"ovnpay scheduler: {error}", file=sys.stderr)
        return 2
    logs.configure_logging(settings, "scheduler")
    stopping = threading.Event()
    is_ready = threading.Event()

    def stop(*_: object) -> None:
        stopping.set()
        if not is_ready.is_set():  # still waiting for the database: nothing to finish
            sys.exit(0)

    # Explicitly, because a parent such as nohup may have left SIGINT ignored.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    run(settings, stopping, is_ready)
    return 0


def count_run(event: JobEvent) -> None:
    RUNS.labels(event.job_id, OUTCOMES[event.code]).inc()


def run(settings: Settings, stopping: threading.Event, is_ready: threading.Event) -> None:
    """Run the timetable until `stopping` is set, then finish the jobs in progress."""
    engine = make_engine(settings, "scheduler", pool_size=CONNECTIONS)
    startup.prepare_database(engine, settings)
    is_ready.set()
    database_identity.create_installation_row(engine)
    jobs = Jobs(settings, engine, TaskSender(settings), SystemClock())
    scheduler = BackgroundScheduler(
        timezone=UTC,
        executors={"default": ThreadPoolExecutor(THREADS)},
        job_defaults={"coalesce": True, "misfire_grace_time": None, "max_instances": 1},
    )
    scheduler.add_listener(count_run, EVENT_JOB_EXECUTED | EVENT_JOB_ERROR | EVENT_JOB_MAX_INSTANCES)
    for entry in TIMETABLE:
        scheduler.add_job(
            partial(entry.job, jobs),
            "interval",
            seconds=entry.every_seconds,
            id=entry.name,
            name=entry.name,
            next_run_time=datetime.now(UTC),
        )
    scheduler.start()

    def problem() -> str | None:
        age_seconds = time.monotonic() - jobs.ticked_at
        return f"the last tick ended {age_seconds:.0f} s ago" if age_seconds > STALE_SECONDS else None

    metrics_server = MetricsServer(
        settings.scheduler_metrics_port, lambda: REGISTRY, problem, host=settings.metrics_host
    )
    metrics_server.start()
    process_memory.reduce_garbage_collection()
    heartbeat = Heartbeat(settings, lambda: () if problem() else (SCHEDULER_ROLE,))
    logger.info("scheduler.started", jobs=[entry.name for entry in TIMETABLE])
    stopping.wait()
    logger.info("scheduler.stopping")
    jobs.stopping.set()
    heartbeat.stop()
    scheduler.shutdown(wait=True)
    metrics_server.stop()
    jobs.task_sender.close()
    jobs.paystream.close()
    engine.dispose()


if __name__ == "__main__":
    sys.exit(main())
