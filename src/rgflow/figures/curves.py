"""Curves: how a training went, and how several did."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rgflow.figures.charts import SOFT, blank, literal, plain, rendered
from rgflow.files import replacing

BLUE, ORANGE, GREY = "#1f6fb4", "#c8500a", "#888888"
"""Colours of training, validation, events."""


def learning_curve(log: Sequence[dict[str, Any]], unit: str, path: Path) -> None:
    """Draw the log of a run as a PNG: training, validations with their errors, and events.

    Args:
        log: Entries as in `log.jsonl`: of steps (`nll`, or null where a step was skipped), of
            validations (`validation_nll`, `standard_error`), of what else happened (`event`).
        unit: What the negative log-likelihoods are in.
        path: The file to write.

    Raises:
        OSError: If it can't be written.
    """
    # Matplotlib takes its time to import, and most who come here want something else.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=100, layout="constrained")
    axes = figure.add_subplot(xlabel="step", ylabel=unit)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.01)
    training = _columns(log, "nll")
    validation = _columns(log, "validation_nll", "standard_error")
    ends = []
    if len(training):
        steps, values = training.T
        smooth = _smoothed(values)
        axes.plot(steps, values, color=BLUE, alpha=0.25, linewidth=0.8)
        axes.plot(steps, smooth, color=BLUE, linewidth=1.8)
        ends.append(("training", smooth[-1], BLUE))
    if len(validation):
        steps, values, errors = validation.T
        axes.errorbar(steps, values, errors, color=ORANGE, marker="o", markersize=4, capsize=2)
        ends.append(("validation", values[-1], ORANGE))
    if ends:
        low, high = _limits(training, validation)
        axes.set_ylim(low, high)
        heights = _apart([(value - low) / (high - low) for _, value, _ in ends])
        for (name, value, color), height in zip(ends, heights, strict=True):
            text = f"{name}\n{value:.3f}"
            axes.text(1.01, height, text, color=color, va="center", transform=axes.transAxes)
    for entry in log:
        if "event" in entry:
            axes.axvline(entry["step"], color=GREY, linewidth=0.8, zorder=0)
            axes.text(
                entry["step"],
                0.99,
                literal(shorten(str(entry["event"]), 32, placeholder=" …")),
                color=GREY,
                fontsize=8,
                ha="right",
                va="top",
                rotation=90,
                transform=axes.get_xaxis_transform(),
            )
    with replacing(path) as part:
        figure.savefig(part, format="png")


Points = Sequence[tuple[float, float]]


def learning_curves(curves: Mapping[str, Sequence[Points]], unit: str) -> Image.Image:
    """Validations of several trainings against time, which is drawn by its logarithm.

    Args:
        curves: By name, of every seed the minutes and what was found then.
        unit: What the negative log-likelihoods are in.

    Returns:
        The picture. Names stand in the order of what was reached; what is higher than what was
        found after a tenth of the time is cut off.

    Raises:
        ValueError: If there is no curve.

    Example:
        >>> curves = {"A": [[(1, 3.0), (10, 1.2)]], "B": [[(1, 2.0), (10, 1.4)]]}
        >>> learning_curves(curves, "bits/dim").size
        (1440, 720)
    """
    from matplotlib import colormaps
    from matplotlib.ticker import LogLocator, NullLocator

    ends = {name: fmean(one[-1][1] for one in seeds) for name, seeds in curves.items()}
    if not ends:
        raise ValueError("Expected at least one curve; got none.")
    figure = blank(9, 4.5)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot(xscale="log", xlabel="minutes", ylabel=unit)
    plain(axes)
    for number, name in enumerate(sorted(ends, key=lambda name: -ends[name])):
        colour = colormaps["tab10"](number % 10)
        for seed, one in enumerate(curves[name]):
            label = literal(f"{name}: {ends[name]:.3f}") if seed == 0 else None
            x, y = zip(*one, strict=True)
            style = "-" if number < 10 else "--"
            axes.plot(x, y, style, color=colour, linewidth=1.6, marker=".", label=label)
    drawn = [one for seeds in curves.values() for one in seeds]
    early = max(one[-1][0] for one in drawn) / 10
    high = max(next((y for x, y in one if x >= early), one[-1][1]) for one in drawn)
    low = min(value for one in drawn for _, value in one)
    axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter("{x:g}")
    axes.grid(axis="y", color=SOFT, alpha=0.3, linewidth=0.6)
    figure.legend(loc="outside right center", frameon=False, fontsize=9)
    return rendered(figure)


def _columns(log: Sequence[dict[str, Any]], *names: str) -> NDArray[np.float64]:
    """Step and some values of the entries that have the first of them, [entries, 1 + values]."""
    rows = [
        [entry["step"], *(entry.get(name) or 0.0 for name in names)]
        for entry in log
        if entry.get(names[0]) is not None
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 1 + len(names))


def _smoothed(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Means over 2 % of all values, centred."""
    window = np.ones(max(1, len(values) // 50))
    return np.convolve(values, window, "same") / np.convolve(values * 0 + 1, window, "same")


def _limits(*curves: NDArray[np.float64]) -> tuple[float, float]:
    """Limits for all but the first tenth of the steps, in which a flow learns the coarsest."""
    last = max(curve[-1, 0] for curve in curves if len(curve))
    late = np.concatenate([curve[curve[:, 0] >= last / 10, 1] for curve in curves])
    low, high = np.quantile(late, (0.001, 0.999))
    margin = 0.05 * (high - low) or 0.5
    return float(low - margin), float(high + margin)


def _apart(heights: list[float], least: float = 0.13) -> list[float]:
    """Heights of one or two labels, moved apart where they would overlap."""
    if len(heights) < 2 or abs(heights[0] - heights[1]) >= least:
        return heights
    middle, up = sum(heights) / 2, 1 if heights[0] >= heights[1] else -1
    return [middle + up * least / 2, middle - up * least / 2]
