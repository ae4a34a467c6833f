"""Charts of a run: latency distributions, and rates over time."""

import re
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from tests.benchmarks.report import Curve


def draw(curves: Sequence[Curve], folder: Path) -> list[Path]:
    """Draw a PNG for each chart; return the paths, none without matplotlib."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for picture, group in groupby(sorted(curves, key=lambda curve: curve.picture), key=lambda curve: curve.picture):
        listed = list(group)
        figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
        for curve in listed:
            axes.plot(*zip(*curve.points, strict=True), label=curve.name, linewidth=1.5)
        axes.set(title=picture, xlabel=listed[0].x_name, ylabel=listed[0].y_name)
        if listed[0].x_name == "ms":
            axes.set_xscale("log")
        else:
            axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.legend()
        path = folder / (re.sub(r"\W+", "-", picture.lower()) + ".png")
        figure.savefig(path, dpi=110)
        pyplot.close(figure)
        paths.append(path)
    return paths
