"""What a person sees of a training run: a live table on a terminal, or a line per validation."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from rgflow.config import TrainConfig
from rgflow.evaluation import Evaluation
from rgflow.flow import Flow

SMOOTHING = 0.95
"""Weight of the past in the smoothed bits per dimension."""


class Display:
    """Shows step, bits per dimension, speed, remaining time, and the validations so far."""

    def __init__(self, config: TrainConfig, flow: Flow, enabled: bool) -> None:
        self.config, self.enabled = config, enabled
        self.console = Console(stderr=True)
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
        self.step, self.seconds, self.smoothed = 0, 0.0, float("nan")
        self.last: Evaluation | None = None
        self.best = float("inf")
        self.live = Live(console=self.console, refresh_per_second=4, get_renderable=self._render)

    def __enter__(self) -> Self:
        if self.enabled and self.console.is_terminal:
            self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.live.is_started:
            self.live.stop()

    def update(self, step: int, seconds: float, fraction: float, bits: float) -> None:
        """Take note of one step."""
        past = SMOOTHING if step > 1 else 0.0
        self.smoothed = bits if not past else past * self.smoothed + (1 - past) * bits
        self.step, self.seconds = step, seconds
        self.progress.update(self.task, completed=fraction)

    def validated(self, result: Evaluation) -> None:
        """Take note of a validation."""
        self.last, self.best = result, min(self.best, result.bits_per_dim)
        if self.enabled and not self.live.is_started:
            clock = time.strftime("%H:%M:%S", time.gmtime(self.seconds))
            self.console.print(
                f"{clock}  step {self.step}  training {self.smoothed:.3f}  validation "
                f"{result.bits_per_dim:.3f} ± {result.standard_error:.3f} bits/dim",
                highlight=False,
            )

    def _render(self) -> Group:
        table = Table.grid(padding=(0, 2))
        speed = self.step * self.config.batch_size / self.seconds if self.seconds else 0.0
        table.add_row(
            f"{self.config.data}, {self.parameters / 1e6:.1f} M parameters",
            f"step {self.step}",
            f"{speed:.0f} images/s",
            f"bits/dim {self.smoothed:.3f}",
        )
        if self.last:
            table.add_row(
                "validation",
                f"{self.last.bits_per_dim:.3f} ± {self.last.standard_error:.3f} bits/dim",
                f"best {self.best:.3f}",
            )
        return Group(table, self.progress)
