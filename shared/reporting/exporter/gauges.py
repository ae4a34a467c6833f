"""How collectors hand over what they have read."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client.core import GaugeMetricFamily


def gauge(name: str, text: str, value: float) -> GaugeMetricFamily:
    """A gauge without labels."""
    return GaugeMetricFamily(name, text, value=value)


def labeled_gauge(
    name: str, text: str, labels: Sequence[str], values: Mapping[Any, float] | Iterable[tuple[Any, float]]
) -> GaugeMetricFamily:
    """A gauge with labels; each value stands with those it has, or with the one."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for given, value in values.items() if isinstance(values, Mapping) else values:
        family.add_metric([given] if isinstance(given, str) else list(given), value)
    return family
