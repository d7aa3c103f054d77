"""The progress of a training: a live table on a terminal, otherwise a line per validation."""

import math
import time
from collections.abc import Mapping
from typing import Self

from rich.console import Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from rgflow.config import TrainConfig
from rgflow.data import Images
from rgflow.evaluation import Evaluation
from rgflow.flow import Flow
from rgflow.text import Screen, measured

SMOOTHING = 0.95
"""Weight of the past in the smoothed likelihood."""


class Display:
    """Shows step, bits per dimension, speed, remaining time, and the validations so far."""

    def __init__(
        self, config: TrainConfig, flow: Flow, images: Images | None, enabled: bool
    ) -> None:
        self.config, self.images, self.enabled = config, images, enabled
        self.unit = flow.unit.name
        self.digits = 3 if flow.pixels else 5  # as errors of actions are small
        self.console = Screen(stderr=True)
        self.parameters = sum(p.numel() for p in flow.parameters())
        self.progress = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            TextColumn("{task.percentage:.0f} %"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
        )
        self.task = self.progress.add_task("training", total=1.0)
        self.step, self.seconds, self.smoothed = 0, 0.0, math.nan
        self.began: tuple[int, float] | None = None
        self.last: Evaluation | None = None
        self.scores = ""
        self.best = float("inf")
        self.live = Live(console=self.console, refresh_per_second=4, get_renderable=self._render)

    def __enter__(self) -> Self:
        if self.enabled and self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.live.is_started:
            self.live.stop()

    def update(self, step: int, seconds: float, fraction: float, nll: float) -> None:
        """Show one step.

        Args:
            step: Its number.
            seconds: Training time so far.
            fraction: Share of the budget that is used.
            nll: Negative log-likelihood of its batch, in the unit of the flow.
        """
        if self.began is None:
            self.began = step - 1, seconds
        if math.isfinite(nll):
            past = 0.0 if math.isnan(self.smoothed) else SMOOTHING
            self.smoothed = nll if not past else past * self.smoothed + (1 - past) * nll
        self.step, self.seconds = step, seconds
        self.progress.update(self.task, completed=fraction)

    def validated(self, result: Evaluation, scores: Mapping[str, float] | None = None) -> None:
        """Show a validation, with scores of the objective."""
        self.last, self.best = result, min(self.best, result.nll)
        self.scores = "".join(f", {name} {x:.3f}" for name, x in (scores or {}).items())
        if not self.live.is_started:
            training = (
                "" if math.isnan(self.smoothed) else f"training {self.smoothed:.{self.digits}f}, "
            )
            found = measured(result.nll, self.digits, result.standard_error)
            self.tell(f"{training}validation {found} {self.unit}{self.scores}")

    def tell(self, event: str) -> None:
        """Print an event, above the live table if there is one."""
        if self.enabled:
            clock = time.strftime("%H:%M:%S", time.gmtime(self.seconds))
            self.console.print(f"{clock}  step {self.step}  {event}")

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 2))
        since, start = self.began or (0, 0.0)
        elapsed = self.seconds - start
        speed = (self.step - since - 1) * self.config.batch_size / elapsed if elapsed else 0.0
        seen = self.step * self.config.batch_size
        streamed = self.config.data.startswith("stream:")  # whose images never come again, or late
        epoch = f", epoch {seen / len(self.images):.1f}" if self.images and not streamed else ""
        table.add_row(
            f"{self.config.data}, {self.parameters / 1e6:.1f} M parameters",
            f"step {self.step}{epoch}",
            f"{speed:.0f} images/s",
            f"{self.smoothed:.{self.digits}f} {self.unit}",
        )
        if self.last:
            table.add_row(
                "validation",
                f"{measured(self.last.nll, self.digits, self.last.standard_error)} {self.unit}",
                f"best {self.best:.{self.digits}f}{self.scores}",
            )
        return Group(table, self.progress)
