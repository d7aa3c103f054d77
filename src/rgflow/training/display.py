"""The progress of a training: a bar on a terminal, and a line per validation."""

import math
import time
from collections.abc import Mapping
from typing import Self

from rich.progress import BarColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

from rgflow.config import TrainConfig
from rgflow.data import Images
from rgflow.evaluation import Evaluation
from rgflow.flow import Flow
from rgflow.text import Screen, What, many, measured

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
        self.progress = Progress(
            What(""),
            BarColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(elapsed_when_finished=False),
            console=self.console,
            disable=not (enabled and self.console.is_terminal),
        )
        parameters = many(sum(p.numel() for p in flow.parameters()), "parameter")
        self.task = self.progress.add_task(f"{config.data}, {parameters}", total=1.0)
        self.step, self.seconds, self.smoothed = 0, 0.0, math.nan
        self.began: tuple[int, float] | None = None

    def __enter__(self) -> Self:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def update(self, step: int, seconds: float, fraction: float, nll: float) -> None:
        """Show one step.

        Args:
            step: Its number.
            seconds: Training time so far.
            fraction: Share of the budget that is used.
            nll: Negative log-likelihood of its batch, in the unit of the flow.
        """
        since, start = self.began = self.began or (step - 1, seconds)
        if math.isfinite(nll):
            past = 0.0 if math.isnan(self.smoothed) else SMOOTHING
            self.smoothed = nll if not past else past * self.smoothed + (1 - past) * nll
        self.step, self.seconds = step, seconds
        size, elapsed = self.config.batch_size, seconds - start
        speed = (step - since - 1) * size / elapsed if elapsed else 0.0
        streamed = self.config.data.startswith("stream:")  # whose images never come again, or late
        of_set = self.images and not streamed and f", epoch {step * size / len(self.images):.1f}"
        self.progress.update(
            self.task,
            completed=fraction,
            description=f"step {step}{of_set or ''}, {speed:.0f} images/s, "
            f"{self.smoothed:.{self.digits}f} {self.unit}",
        )

    def validated(self, result: Evaluation, scores: Mapping[str, float]) -> None:
        """Show a validation, with scores of the objective."""
        training = (
            "" if math.isnan(self.smoothed) else f"training {self.smoothed:.{self.digits}f}, "
        )
        found = measured(result.nll, self.digits, result.standard_error)
        more = "".join(f", {name} {x:.3f}" for name, x in scores.items())
        self.tell(f"{training}validation {found} {self.unit}{more}")

    def tell(self, event: str) -> None:
        """Print an event, above the bar if there is one."""
        if self.enabled:
            clock = time.strftime("%H:%M:%S", time.gmtime(self.seconds))
            self.console.print(f"{clock}  step {self.step}  {event}")
