"""Invariants, reconciliation, and what stops outgoing money because of them."""

from collections import Counter
from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from shared.controls.invariants import sweep
from shared.controls.reconciliation import runs
from shared.holds import cases, outgoing_holds
from shared.holds.reconcile_only import is_reconcile_only
from shared.reporting.exporter.collectors import labeled_gauge
from shared.schema.controls import HoldKind

SCOPES = ("wallet", "rail", "all")


def collect_invariants(connection: sa.Connection) -> Iterator[Metric]:
    """Yield violations and the last check by invariant, from its first check on; and outgoing holds."""
    statuses = sweep.load_invariant_statuses(connection)
    yield labeled_gauge(
        "ovnpay_invariant_violations",
        "Violations of an invariant; any but 0 pages.",
        ["invariant"],
        [(status.name, status.violations) for status in statuses],
    )
    yield labeled_gauge(
        "ovnpay_invariant_checked_timestamp_seconds",
        "When an invariant was last checked, in Unix time.",
        ["invariant"],
        [(status.name, status.checked_at.timestamp()) for status in statuses],
    )
    counts = Counter((row.kind.value, row.scope.name) for row in outgoing_holds.load_active_holds(connection))
    yield labeled_gauge(
        "ovnpay_outgoing_holds",
        "Active holds on outgoing money, by kind (frozen: an invariant is violated, paused: by an operator) and scope.",
        ["kind", "scope"],
        {(kind.value, scope): float(counts[kind.value, scope]) for kind in HoldKind for scope in SCOPES},
    )


def collect_reconciliation(connection: sa.Connection) -> Iterator[Metric]:
    """Yield open cases and the last run by mode, from its first run on; and whether reconcile-only is on."""
    text = "Open reconciliation cases, by kind: differences that wait for a person."
    yield labeled_gauge("ovnpay_reconciliation_open_cases", text, ["kind"], cases.open_case_counts(connection))
    yield labeled_gauge(
        "ovnpay_reconciliation_last_run_timestamp_seconds",
        "When the last successful comparison with the provider's record ended, in Unix time.",
        ["mode"],
        [(mode, ended_at.timestamp()) for mode, ended_at in runs.last_completed_at(connection).items()],
    )
    yield GaugeMetricFamily(
        "ovnpay_reconcile_only",
        "1 while no money may leave because the database may be a restored backup.",
        value=is_reconcile_only(connection),
    )
