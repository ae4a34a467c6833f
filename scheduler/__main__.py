"""`python -m scheduler`: the timetable under APScheduler.

Interval jobs without a job store: a missed run is caught up once, never dropped, and two runs of a job never
overlap. Correctness does not depend on there being one scheduler, or on any at a given second: rows stay due.
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
from shared.platform.settings import Settings, SettingsError, load_settings
from shared.platform.task_queue import TaskSender

logger = structlog.get_logger(__name__)

THREADS = 6
"""Jobs that run at the same time: the tick never waits for one that takes long, as a comparison does."""

RUNS = Counter(
    "ovnpay_scheduler_runs_total",
    "Runs of the timetable's jobs: done, failed, or skipped since the one before had not ended.",
    ["task", "outcome"],
)
OUTCOMES = {EVENT_JOB_EXECUTED: "done", EVENT_JOB_ERROR: "failed", EVENT_JOB_MAX_INSTANCES: "skipped"}

STALE_SECONDS = 15.0
"""A tick older than this is reported as unhealthy."""


def main(arguments: list[str] | None = None) -> int:
    """Runs until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="ovnpay scheduler", description="Ring for what is due; prove the ledger.")
    parser.parse_args(arguments)
    try:
        settings = load_settings()
    except SettingsError as error:
        print(f"ovnpay scheduler: {error}", file=sys.stderr)
        return 2
    logs.configure_logging(settings, "scheduler")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    run(settings, stopping)
    return 0


def count_run(event: JobEvent) -> None:
    """Counts a run of a job."""
    RUNS.labels(event.job_id, OUTCOMES[event.code]).inc()


def run(settings: Settings, stopping: threading.Event) -> None:
    """Runs the timetable until `stopping` is set; ends the jobs under way first."""
    engine = make_engine(settings, "scheduler", pool_size=THREADS + 1)  # one more that only holds a lock
    startup.prepare_database(engine, settings)
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

    def wrong() -> str | None:
        age_seconds = time.monotonic() - jobs.ticked_at
        return f"the last tick ended {age_seconds:.0f} s ago" if age_seconds > STALE_SECONDS else None

    exposition = MetricsServer(settings.scheduler_metrics_port, lambda: REGISTRY, wrong, host=settings.metrics_host)
    exposition.start()
    process_memory.reduce_garbage_collection()
    beat = Heartbeat(settings, lambda: () if wrong() else (SCHEDULER_ROLE,))
    logger.info("scheduler.started", jobs=[entry.name for entry in TIMETABLE])
    stopping.wait()
    logger.info("scheduler.stopping")
    jobs.ending.set()
    beat.stop()
    scheduler.shutdown(wait=True)
    exposition.stop()
    jobs.task_sender.close()
    jobs.paystream.close()
    engine.dispose()


if __name__ == "__main__":
    sys.exit(main())
