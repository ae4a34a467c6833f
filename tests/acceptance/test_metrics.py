"""Metrics of a running system: naming conventions, no ids in labels, and all that alerts and dashboards query."""

import os
import re
import signal
import time
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.customer import Customer
from tests.support.monitoring import DASHBOARDS, EVERY_RULE
from tests.support.polling import until
from tests.support.report_lines import report
from tests.support.stack import Stack, descendants_of

AN_ID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}|_[0-9a-hjkmnp-tv-z]{26}|@|\d{6,}")
UNITS = ("seconds", "bytes", "cents")
LATER = {
    "ovnpay_invariant_violations",
    "ovnpay_invariant_checked_timestamp_seconds",
    "ovnpay_reconciliation_last_run_timestamp_seconds",
}
"""Served from the start; with values after the first check, a minute later, or the first daily run."""
OTHER_UNITS = re.compile(r"_(milliseconds|ms|minutes|hours|kilobytes|mb|dollars|percent)(_|$)")


def scrape(stack: Stack, service: str) -> list[Metric]:
    """Scrape a service."""
    with urllib.request.urlopen(stack["metrics"][service]) as answer:
        return list(text_string_to_metric_families(answer.read().decode()))


def total(stack: Stack, service: str, name: str) -> float:
    """Sum a counter's series."""
    return sum(sample.value for metric in scrape(stack, service) for sample in metric.samples if sample.name == name)


@pytest.fixture(scope="module")
def scrapes(stack: Stack, customer: Customer) -> dict[str, list[Metric]]:
    """Every service's metrics, after payouts and a batch."""
    driver_id = customer.verified_driver()["id"]
    paid = customer.pay(driver_id, 1_000)
    customer.post("/api/v1/payouts/instant", {"driverId": driver_id, "amount": 1_000, "requestedBy": "test"})
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 1))
    payouts = [{"driverId": driver_id, "amount": 1_000}]
    body = {"name": "metrics", "scheduledFor": at, "payouts": payouts}
    batch = customer.post("/api/v1/batches", body, str(uuid.uuid4())).data
    customer.until_payout(paid["id"], "completed")
    until(lambda: customer.get(f"/api/v1/batches/{batch['id']}").data["status"] == "completed", "the batch is paid")
    return {service: scrape(stack, service) for service in stack["metrics"]}


def _metrics(scrapes: dict[str, list[Metric]]) -> Iterator[tuple[str, Metric]]:
    for service, metrics in scrapes.items():
        yield from ((service, metric) for metric in metrics)


def test_queried_metrics_are_served(scrapes: dict[str, list[Metric]]) -> None:
    samples = {sample.name for _, metric in _metrics(scrapes) for sample in metric.samples}
    rules = [rule["expr"] for rule in EVERY_RULE]
    panels = [one["expr"] for board in DASHBOARDS.values() for panel in board["panels"] for one in panel["targets"]]
    queried = {name for expression in rules + panels for name in re.findall(r"\bovnpay_[a-z0-9_]+", expression)}
    families = {metric.name for _, metric in _metrics(scrapes) if metric.name.startswith("ovnpay_")}
    missing = queried - samples - (LATER & families)
    report(
        f"{len(families)} metrics are served; {len(rules)} rules and {len(panels)} queries of {len(DASHBOARDS)} "
        f"dashboards query {len(queried)} series, {len(missing)} of them are missing"
    )
    assert missing == set()
    assert len(queried) > 60


def test_names_and_labels_follow_prometheus_conventions(scrapes: dict[str, list[Metric]]) -> None:
    wrong: list[Any] = []
    for service, metric in _metrics(scrapes):
        if not metric.name.startswith("ovnpay_"):
            continue
        text = metric.documentation
        samples = {sample.name for sample in metric.samples}
        is_valid = (
            re.fullmatch(r"[a-z][a-z0-9_]*", metric.name)
            and text
            and not OTHER_UNITS.search(metric.name)
            and (metric.type != "counter" or samples <= {f"{metric.name}_total"})
            and (metric.type != "gauge" or not metric.name.endswith(("_total", "_count", "_sum")))
            and (metric.type != "histogram" or metric.name.endswith((*UNITS, "_size")))
            and metric.type != "unknown"
        )
        wrong += [] if is_valid else [(service, metric.name, metric.type, text)]
        for sample in metric.samples:
            wrong += [(service, sample) for label in sample.labels if label in ("job", "instance")]
            wrong += [
                (service, sample) for label, value in sample.labels.items() if label != "le" and AN_ID.search(value)
            ]
    assert wrong == []


def test_each_process_reports_its_version(scrapes: dict[str, list[Metric]]) -> None:
    for service, metrics in scrapes.items():
        [build] = [metric for metric in metrics if metric.name == "ovnpay_build_info"]
        assert set(build.samples[0].labels) == {"version", "python"}, service


def test_counters_survive_killed_workers(stack: Stack, scrapes: dict[str, list[Metric]]) -> None:
    # Given counters of workers
    before = total(stack, "workers", "ovnpay_messages_total")
    steps = total(stack, "workers", "ovnpay_payout_transitions_total")
    assert before > 0
    # When all worker processes are killed
    master = until(lambda: stack.pid("workers"), "workers run")
    for pid in [*descendants_of(master), master]:
        os.kill(pid, signal.SIGKILL)
    until(lambda: stack.pid("workers") not in (None, master), "workers run again", 30)

    # Then their successors continue the counters
    def consumers() -> float:
        try:
            return total(stack, "workers", "ovnpay_queue_workers")
        except OSError:
            return 0.0

    until(lambda: consumers() == 7, "they consume all queues, once each", 30)
    assert total(stack, "workers", "ovnpay_messages_total") >= before
    assert total(stack, "workers", "ovnpay_payout_transitions_total") >= steps
