"""Reconciliation: differences that wait for a person, the last comparisons, and whether money may leave at all."""

from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric

from shared.controls.reconciliation import runs
from shared.holds import cases
from shared.holds.reconcile_only import is_reconcile_only
from shared.reporting.exporter.gauges import gauge, labeled_gauge


def collect_reconciliation(connection: sa.Connection) -> Iterator[Metric]:
    """A mode has a last comparison once it has had one."""
    text = "Differences that wait for a person, by kind."
    yield labeled_gauge("ovnpay_reconciliation_open_cases", text, ["kind"], cases.open_case_counts(connection))
    yield labeled_gauge(
        "ovnpay_reconciliation_last_run_timestamp_seconds",
        "When a comparison last ended well, in Unix time.",
        ["mode"],
        [(mode, ended_at.timestamp()) for mode, ended_at in runs.last_completed_at(connection).items()],
    )
    yield gauge(
        "ovnpay_reconcile_only",
        "1 while no money may leave, for the database may be an older copy.",
        is_reconcile_only(connection),
    )
