"""Curves: how a training went."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rgflow.figures.charts import literal
from rgflow.files import replacing

BLUE, ORANGE, GREY = "#1f6fb4", "#c8500a", "#888888"
"""Colours of training, validation, events."""


def learning_curve(log: Sequence[dict[str, Any]], unit: str, path: Path) -> None:
    """Draw the log of a run as a PNG: training, validations with their errors, and events.

    Args:
        log: Entries as in `log.jsonl`: of steps (`nll`, or null where a step was skipped), of
            validations (`validation_nll`, `standard_error`), of what else happened (`event`).
        unit: What the negative log-likelihoods are in.
        path: The file.

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
