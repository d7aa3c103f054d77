"""Curves: how a training went."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgflow.figures.charts import SOFT, blank, literal, plain
from rgflow.files import replacing

BLUE, ORANGE = "#1f6fb4", "#c8500a"
"""Colours of training and validation."""


def learning_curve(log: Sequence[dict[str, Any]], unit: str, path: Path) -> None:
    """Draw the log of a run as a PNG: training, validations with their errors, and events.

    Args:
        log: Entries as in `log.jsonl`: of steps (`nll`, or null where a step was skipped), of
            validations (`validation_nll`, `standard_error`), of other events (`event`).
        unit: Unit of the negative log-likelihoods.
        path: The file.

    Raises:
        OSError: If it can't be written.
    """
    figure = blank(8, 4.5)
    figure.set_layout_engine("constrained")
    axes = figure.add_subplot()
    axes.margins(x=0.01)
    plain(axes, "step", unit)
    training = _columns(log, "nll")
    validation = _columns(log, "validation_nll", "standard_error")
    if len(training):
        steps, values = training.T
        smooth = _smoothed(values)
        axes.plot(steps, values, color=BLUE, alpha=0.25, linewidth=0.8)
        axes.plot(steps, smooth, color=BLUE, linewidth=1.8, label=f"training: {smooth[-1]:.3f}")
    if len(validation):
        label = f"validation: {validation[-1, 1]:.3f}"
        axes.errorbar(*validation.T, color=ORANGE, marker="o", ms=4, capsize=2, label=label)
    if len(training) or len(validation):
        axes.set_ylim(*_limits(training, validation))
        axes.legend(loc="upper right", frameon=False, labelcolor="linecolor")
    for entry in log:
        if "event" in entry:
            axes.axvline(entry["step"], color=SOFT, linewidth=0.8, zorder=0)
            axes.text(
                entry["step"],
                0.99,
                literal(shorten(str(entry["event"]), 32, placeholder=" …")),
                color=SOFT,
                fontsize=8,
                ha="right",
                va="top",
                rotation=90,
                transform=axes.get_xaxis_transform(),
            )
    with replacing(path) as part:
        figure.savefig(part, format="png")


def _columns(log: Sequence[dict[str, Any]], *names: str) -> NDArray[np.float64]:
    """Step and values of the entries that have the first value, [entries, 1 + values]."""
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
    """Limits of the likelihoods after the first tenth of the steps, in which they fall most."""
    last = max(curve[-1, 0] for curve in curves if len(curve))
    late = np.concatenate([curve[curve[:, 0] >= last / 10, 1] for curve in curves])
    low, high = np.quantile(late, (0.001, 0.999))
    margin = 0.05 * (high - low) or 0.5
    return float(low - margin), float(high + margin)
