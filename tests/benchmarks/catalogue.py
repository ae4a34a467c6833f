"""All benchmarks and yardsticks, in the order of a run: benchmarks that share a system come together."""

from collections.abc import Callable

from tests.benchmarks.bench import Bench
from tests.benchmarks.lines import (
    analytics,
    b1_single,
    b2_latency,
    b3_bulk,
    b4_pipeline,
    b5_batch,
    b6_instant,
    b7_due_batches,
    b8_growth,
    b9_memory,
    b10_webhooks_in,
    b11_scale_out,
    counts,
    generators,
    keys,
    provider_calls,
)
from tests.benchmarks.report import Yardstick
from tests.benchmarks.yardsticks import echo, pgbench, queues, set_based

LINES = {
    module.LINE.name: module.LINE
    for module in (
        generators,
        b2_latency,
        b1_single,
        b3_bulk,
        counts,
        b6_instant,
        b5_batch,
        b4_pipeline,
        b9_memory,
        b10_webhooks_in,
        b11_scale_out,
        b7_due_batches,
        keys,
        provider_calls,
        b8_growth,
        analytics,
    )
}
"""Benchmarks by name, each with its description."""

YARDSTICKS: dict[str, Callable[[Bench], Yardstick]] = {
    "a": pgbench.many,
    "a1": pgbench.one,
    "b": echo.echoed,
    "c": queues.dramatiq,
    "d": queues.celery,
    "s": set_based.alone,
}
"""Yardsticks by letter; (s) is the SQL of the group commit without Python."""
