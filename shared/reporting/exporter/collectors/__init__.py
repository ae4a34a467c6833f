"""Collectors: functions that read state from the database or Redis and yield gauges.

Their queries use an index or read a small table, because there may be millions of payouts. To add one, write the
function and list it in `shared.reporting.exporter.snapshot`.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily


def labeled_gauge(
    name: str, text: str, labels: Sequence[str], values: Mapping[Any, float] | Iterable[tuple[Any, float]]
) -> GaugeMetricFamily:
    """Make a gauge with labels. The key of a value is its label values, or the one label value."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items() if isinstance(values, Mapping) else values:
        family.add_metric([key] if isinstance(key, str) else list(key), value)
    return family
