"""The training loop: maximum likelihood (paper, eq. 13), with a moving average of the weights."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor

from rgflow import data, figures
from rgflow.architectures import make_flow
from rgflow.config import TrainConfig
from rgflow.data import Images
from rgflow.data.source import Split
from rgflow.evaluation import evaluate
from rgflow.flow import Flow
from rgflow.numerics import bits_per_dim, can_compile
from rgflow.training.batches import Batches
from rgflow.training.display import Display
from rgflow.training.optimisation import Optimisation, prepare_machine
from rgflow.training.run import Run

SAMPLES = 64
"""Images in the sample grid."""
FIT_COUNT = 20_000
"""Training images that the pixel map is fitted to."""


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training run came to.

    Attributes:
        steps: Optimiser steps taken.
        seconds: Time they took, validation included.
        images_per_second: Over the whole of that time.
        bits_per_dim: Of the validation images, with the averaged weights, at the end.
        interrupted: Whether it was stopped by hand.
        compile_seconds: Time to compile the splines, before the clock started; none: they weren't.
        skipped: Training files that were left out, each with the reason.
    """

    steps: int
    seconds: float
    images_per_second: float
    bits_per_dim: float
    interrupted: bool
    compile_seconds: float | None = None
    skipped: tuple[str, ...] = ()


def train(config: TrainConfig, run: Run, *, progress: bool = True) -> TrainingResult:
    """Train a flow and leave it, with its log and pictures, in a run folder.

    An interrupt (Ctrl-C) ends the training early and loses nothing.

    Args:
        config: What to train, on what, for how long.
        run: The folder that takes the results.
        progress: Whether to show a live display.

    Raises:
        ValueError: If there is no budget, or data and flow don't fit.
    """
    if config.minutes is None and config.steps is None:
        raise ValueError("Expected a budget of training: give minutes, steps or both; got neither.")
    prepare_machine()
    accelerator = Accelerator()
    torch.manual_seed(config.seed)
    flow = make_flow(config.model)
    with accelerator.local_main_process_first():
        training_set = _load(config, "train", config.train_count, progress)
        validation_set = _load(config, "validation", config.validate_count, progress)
    validation = torch.from_numpy(validation_set.images.copy())
    flow.fit_pixels(torch.from_numpy(training_set.images[:FIT_COUNT].copy()))
    main = accelerator.is_main_process
    if main:
        run.write_start(config, flow, training_set, processes=accelerator.num_processes)

    trainer = _Trainer(config, flow, training_set, accelerator)
    display = Display(config, flow, enabled=progress and main)
    interrupted = False
    with display:
        try:
            for fraction in trainer.until_done():
                display.update(trainer.step, trainer.seconds, fraction, trainer.bits)
                if main:
                    run.log(
                        step=trainer.step,
                        seconds=round(trainer.seconds, 3),
                        bits_per_dim=trainer.bits,
                        gradient_norm=trainer.gradient_norm,
                        lr=trainer.lr,
                    )
                if trainer.validation_is_due():
                    _validate(trainer, run, validation, display)
        except KeyboardInterrupt:
            interrupted = True
        bits = _validate(trainer, run, validation, display)
    result = TrainingResult(
        steps=trainer.step,
        seconds=trainer.seconds,
        images_per_second=trainer.step * config.batch_size / max(trainer.seconds, 1e-9),
        bits_per_dim=bits,
        interrupted=interrupted,
        compile_seconds=trainer.compile_seconds,
        skipped=training_set.skipped,
    )
    if main:
        run.write_result(result)
    return result


def _load(config: TrainConfig, split: Split, count: int | None, progress: bool) -> Images:
    model = config.model
    if model.pixels is None:
        raise ValueError("Expected a flow with a pixel map to train on images; got pixels=None.")
    return data.load(
        config.data,
        split,
        height=model.height,
        width=model.width,
        channels=model.channels,
        count=count,
        crop=config.crop,
        progress=progress,
    )


def _validate(trainer: "_Trainer", run: Run, validation: Tensor, display: Display) -> float:
    """Bits per dimension with the averaged weights; a sample grid and a checkpoint beside it."""
    flow = trainer.averaged_flow()
    result = evaluate(flow, validation)
    if trainer.accelerator.is_main_process:
        run.log(
            step=trainer.step,
            seconds=round(trainer.seconds, 3),
            validation_bits_per_dim=result.bits_per_dim,
            standard_error=result.standard_error,
        )
        flow.save_pretrained(run.model)
        device = next(flow.parameters()).device
        samples = flow.sample(SAMPLES, generator=torch.Generator(device).manual_seed(0))
        run.save_picture(figures.grid(samples), f"samples-{trainer.step:07d}.png")
    display.validated(result)
    return result.bits_per_dim


class _Trainer:
    """The state of a run in memory: weights, optimiser, average, clock."""

    def __init__(
        self, config: TrainConfig, flow: Flow, images: Images, accelerator: Accelerator
    ) -> None:
        self.config, self.flow, self.accelerator = config, flow, accelerator
        self.optimisation = Optimisation(flow, config, accelerator)
        self.model = self.optimisation.model
        self.batches = Batches(
            images.images,
            batch_size=config.batch_size,
            seed=config.seed,
            flip=config.flip,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
        )
        self.compile_seconds = self._compile()
        self.step = 0
        self.bits = self.gradient_norm = self.lr = math.nan
        self._start = self._validated = time.perf_counter()

    def _compile(self) -> float | None:
        """Compile the splines if that is wanted and possible, by a first pass that changes nothing;
        returns the seconds that it took, or none."""
        wanted = self.config.compile
        if wanted is False or not (wanted or can_compile()) or not self.flow.compile_splines():
            return None
        start = time.perf_counter()
        self.model.train()
        self.model(self.batches[0].to(self.accelerator.device)).mean().backward()
        self.optimisation.optimizer.zero_grad()
        return time.perf_counter() - start

    @property
    def seconds(self) -> float:
        """Time since training began."""
        return time.perf_counter() - self._start

    def fraction(self) -> float:
        """How much of the budget is used, 0 to 1."""
        config = self.config
        of_time = self.seconds / (60 * config.minutes) if config.minutes else 0.0
        of_steps = self.step / config.steps if config.steps else 0.0
        return min(max(of_time, of_steps), 1.0)

    def until_done(self) -> Iterator[float]:
        """Take steps until the budget is used; yields the fraction used after each."""
        self.model.train()
        while (fraction := self.fraction()) < 1:
            self._take_step(fraction)
            yield self.fraction()

    def _take_step(self, fraction: float) -> None:
        config = self.config
        self.lr = config.lr * min((self.step + 1) / max(config.warmup, 1), 1.0)
        if config.schedule == "cosine":
            self.lr *= 0.5 * (1 + math.cos(math.pi * fraction))
        x = self.batches[self.step].to(self.accelerator.device)
        log_prob = self.model(x).mean()
        norm = self.optimisation.step(-log_prob / self.flow.dim, self.lr)
        self.step += 1
        self.bits = bits_per_dim(
            self.accelerator.reduce(log_prob.detach(), "mean"), self.flow.dim
        ).item()
        self.gradient_norm = float(norm)

    def validation_is_due(self) -> bool:
        """Whether it is time for a validation; asking resets the clock if it is."""
        due = time.perf_counter() - self._validated > self.config.validate_every
        if due:
            self._validated = time.perf_counter()
        return due and self.fraction() < 1

    def averaged_flow(self) -> Flow:
        """The flow with averaged weights, for evaluation."""
        return self.optimisation.averaged_flow()
