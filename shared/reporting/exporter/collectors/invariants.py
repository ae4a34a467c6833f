"""Invariants: how often each is broken, and when it was last proved; and what holds outgoing money because of that."""

from collections import Counter
from collections.abc import Iterator

import sqlalchemy as sa
from prometheus_client import Metric

from shared.controls.invariants import sweep
from shared.holds import outgoing_holds
from shared.reporting.exporter.gauges import labeled_gauge
from shared.schema.controls import HoldKind

SCOPES = ("wallet", "rail", "all")


def collect_invariants(connection: sa.Connection) -> Iterator[Metric]:
    """An invariant is there from its first proof on."""
    standings = sweep.load_invariant_statuses(connection)
    text = "How often an invariant is broken; anything but 0 is a page."
    yield labeled_gauge("ovnpay_invariant_breaks", text, ["invariant"], [(one.name, one.breaks) for one in standings])
    yield labeled_gauge(
        "ovnpay_invariant_proved_timestamp_seconds",
        "When an invariant was last proved, in Unix time.",
        ["invariant"],
        [(one.name, one.proved_at.timestamp()) for one in standings],
    )
    held = Counter((row.kind.value, row.scope.name) for row in outgoing_holds.load_active_holds(connection))
    yield labeled_gauge(
        "ovnpay_outgoing_held",
        "Holds on outgoing money, by kind (frozen by a broken invariant, paused by a person) and scope.",
        ["kind", "scope"],
        {(kind.value, scope): float(held[kind.value, scope]) for kind in HoldKind for scope in SCOPES},
    )
