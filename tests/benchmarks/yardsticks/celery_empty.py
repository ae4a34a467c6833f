"""An empty Celery task for `celery worker`."""

import os

from celery import Celery  # type: ignore[import-untyped]

QUEUE = "bench_celery"

app = Celery("bench", broker=os.environ["OVNPAY_BENCH_REDIS_URL"])
app.conf.update(task_default_queue=QUEUE, task_ignore_result=True, worker_send_task_events=False)


@app.task(name="nothing")  # type: ignore[untyped-decorator]
def nothing() -> None:
    """Empty."""
