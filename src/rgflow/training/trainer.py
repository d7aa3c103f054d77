"""The state of a training in memory, one step at a time."""

import math
import time
import zlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor

from rgflow.architectures import flow_class
from rgflow.checks import check_at_least, check_whole
from rgflow.config import TrainConfig
from rgflow.data import Images, msds
from rgflow.data.decoding import Target
from rgflow.data.images import Array
from rgflow.data.stream import Stream
from rgflow.flow import Flow
from rgflow.objectives import Batch
from rgflow.training.batches import Batches
from rgflow.training.optimisation import Optimisation, training_dtype

CHANGEABLE = {
    "minutes", "steps", "validate_every", "validate_count", "patience", "keep", "compile",
    "accumulate", "data_root", "download", "pretrained",
}  # fmt: skip
"""Settings that may change when a run is resumed."""


def check_state(state: dict[str, Any], config: TrainConfig) -> None:
    """Check that a checkpoint fits the settings, before the flow that they describe is made.

    Raises:
        ValueError: If it is of other settings, holds too few weights, or isn't a checkpoint.
    """
    try:
        of_run = state["config"]
        # Settings that an earlier version lacked have the default, which changes nothing.
        theirs = TrainConfig.from_dict(of_run).to_dict()
        held = sum(tensor.numel() for tensor in state["flow"].values())
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _other(error) from error
    mine = config.to_dict()
    levels = [of["model"]["levels"] for of in (theirs, mine)]
    if None in levels:  # as many as fit, which the size says
        theirs["model"]["levels"] = mine["model"]["levels"]
    if changed := [k for k in mine if k not in CHANGEABLE and theirs[k] != mine[k]]:
        raise ValueError(
            f"Expected the settings that the run began with; {', '.join(changed)} differ in "
            f"its config.yaml: begin a new run for other settings."
        )
    if held < flow_class(config.model).least_parameters(config.model):
        raise _other(f"{held:,} numbers are fewer than the flow has")


def _other(reason: object) -> ValueError:
    return ValueError(
        f"Expected checkpoints of a training by this version of rgflow; got something else "
        f"({' '.join(str(reason).split())}): begin anew."
    )


class Trainer:
    """The state of a training in memory: weights, optimiser, average, clock.

    Args:
        config: The settings, resolved by `rgflow.training.loop.resolved`.
        flow: The flow.
        images: The training images; `None` for objectives that need none.
        accelerator: Spreads the work over processes.

    Raises:
        ValueError: If the processes can't share a batch equally.
    """

    def __init__(
        self, config: TrainConfig, flow: Flow, images: Images | None, accelerator: Accelerator
    ) -> None:
        self.config, self.flow, self.accelerator = config, flow, accelerator
        self.optimisation = Optimisation(flow, config, accelerator)
        self.losses = self.optimisation.losses
        self.batches = Batches(
            images.images if images else None,
            batch_size=config.batch_size,
            seed=config.seed,
            flip=config.flip,
            shuffle_channels=config.shuffle_channels,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            dtype=getattr(torch, config.dtype),
            endless=_endless(config, accelerator),
            labels=images.classes(config.model.labels) if images else None,
        )
        self.networks = training_dtype(config.model.compute_dtype)
        self.data = _fingerprint(images) if images else ""
        self.step = 0
        self.nll = self.gradient_norm = self.lr = math.nan
        self.lr_factor, self.bad, self.skipped_steps = 1.0, 0, 0
        self.best, self.rank, self.stale, self.validated = math.inf, math.inf, 0, 0
        self.log_size = 0
        self.compile_seconds: float | None = None
        self._now = time.process_time if config.clock == "processor" else time.perf_counter
        self._start = self._now()

    def state(self) -> dict[str, Any]:
        """Everything needed to resume the training."""
        return {
            "config": self.config.to_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "lr_factor": self.lr_factor,
            "bad": self.bad,
            "skipped_steps": self.skipped_steps,
            "best": self.best,
            "rank": self.rank,
            "stale": self.stale,
            "validated": self.validated,
            "log_size": self.log_size,
            "data": self.data,
            **self.optimisation.state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Resume from what `state` returned.

        Raises:
            ValueError: If the state is of other settings or other training images, or isn't one.
        """
        check_state(state, self.config)
        if state["data"] != self.data:
            raise ValueError(
                f"Expected the training images that the run began with; those of "
                f"{self.config.data} have changed since: begin a new run."
            )
        try:
            self.optimisation.restore(state)
            state = {"stale": 0, "validated": 0} | state  # which earlier versions lack
            for name in ("step", "bad", "skipped_steps", "log_size", "stale", "validated"):
                setattr(self, name, check_whole(name, state[name], 0))
            for name in ("lr_factor", "seconds"):
                check_at_least(name, state[name], 0)
            self.lr_factor, self.best = state["lr_factor"], float(state["best"])
            self.rank = float(state.get("rank", self.best))  # earlier versions had one number
            self.start_clock(state["seconds"])
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise _other(error) from error

    def compile(self) -> str | None:
        """Compile maps, where the settings say so, by a first pass that changes nothing.

        Returns:
            Why it failed, such as missing header files of Python; `None` if it didn't.
        """
        if not self.config.compile or not self.flow.compile_maps():
            return None
        seconds, start = self.seconds, time.perf_counter()
        self.flow.train()
        reason = None
        try:
            self._backward(self.batches.at(0, self.accelerator.device))
        except RuntimeError as error:  # any other than of compiling comes again at the first step
            self.flow.compile_maps(False)
            reason = next(
                (line for line in str(error).splitlines() if "error" in line), repr(error)
            )
        else:
            self.compile_seconds = time.perf_counter() - start
        self.optimisation.zero_grad()
        self.start_clock(seconds)
        return reason

    @property
    def seconds(self) -> float:
        """Time spent on training, breaks not counted."""
        return self._now() - self._start

    def start_clock(self, seconds: float = 0.0) -> None:
        """Set the clock to a number of seconds."""
        self._start = self._now() - seconds

    def fraction(self) -> float:
        """Used share of the budget, 0 to 1."""
        config = self.config
        of_time = self.seconds / (60 * config.minutes) if config.minutes else 0.0
        of_steps = self.step / config.steps if config.steps else 0.0
        return min(max(of_time, of_steps), 1.0)

    def agreed(self, *numbers: float) -> list[float]:
        """The main process' values of some numbers that may differ between processes."""
        if self.accelerator.num_processes == 1:
            return list(numbers)
        tensor = torch.tensor(numbers, dtype=torch.float64, device=self.accelerator.device)
        return broadcast(tensor).tolist()

    def take_step(self, fraction: float) -> bool:
        """Take one step of the optimiser.

        Args:
            fraction: Used share of the budget, which the learning rate may depend on.

        Returns:
            Whether loss and gradient were finite; otherwise the step was skipped.
        """
        config = self.config
        self.lr = config.lr * self.lr_factor * min((self.step + 1) / max(config.warmup, 1), 1.0)
        if config.schedule == "cosine":
            self.lr *= 0.5 * (1 + math.cos(math.pi * fraction))
        self.flow.train()
        batch = replace(self.batches.at(self.step, self.accelerator.device), progress=fraction)
        total = self.accelerator.reduce(self._backward(batch), "mean") / batch.size
        self.nll = self.flow.unit(-total).item()
        self.gradient_norm = self.optimisation.update(self.lr, valid=math.isfinite(self.nll))
        self.step += 1
        good = math.isfinite(self.gradient_norm)
        self.bad = 0 if good else self.bad + 1
        self.skipped_steps += not good
        return good

    def _backward(self, batch: Batch) -> Tensor:
        """Find the gradients of a batch, in `accumulate` parts; returns the sum of its losses."""
        parts = batch.split(self.config.accumulate)
        total = torch.zeros((), dtype=self.flow.dtype, device=self.flow.device)
        for k, part in enumerate(parts):
            last = k == len(parts) - 1
            together = nullcontext() if last else self.accelerator.no_sync(self.losses)
            with together, self.flow.fast(self.networks):
                loss = self.losses(part).sum()
                self.optimisation.backward(loss / (batch.size * self.flow.dim))
            total += loss.detach()
        return total


def _endless(config: TrainConfig, accelerator: Accelerator) -> Callable[[int, int], Array] | None:
    """The source of new images for every step; `None` if the training set is repeated."""
    if config.fresh:
        return msds.endless(cast(msds.Kind, config.data))
    kind, _, path = config.data.partition(":")
    if kind != "stream":
        return None
    size = config.model
    return Stream(
        path,
        Target(height=size.height, width=size.width, channels=size.channels),
        seed=config.seed,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )


def _fingerprint(images: Images) -> str:
    """A short text that differs between sets of images: of their shape, and some of them."""
    some = images.images[np.linspace(0, len(images) - 1, 64).astype(int)]
    shape = "x".join(map(str, images.images.shape))
    return f"{shape}-{zlib.crc32(np.ascontiguousarray(some).tobytes()):08x}"
