"""A step of the optimiser: clipping, AdamW or Muon, and the moving average of the weights."""

import ctypes
import math
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rgflow.config import ComputeDtype, TrainConfig
from rgflow.flow import Flow
from rgflow.numerics import bfloat16_pays
from rgflow.objectives import Batch, Objective
from rgflow.training.muon import Muon


def training_dtype(name: ComputeDtype) -> torch.dtype | None:
    """The number format of the networks while training; none: that of their input."""
    if name == "auto":
        return torch.bfloat16 if bfloat16_pays() else None
    return torch.bfloat16 if name == "bfloat16" else None


class Optimisation:
    """AdamW on a flow (paper, Appendix A), or Muon where that applies, and averaged weights.

    Args:
        flow: The flow; its parameters that need no gradient stay as they are.
        config: Optimiser, betas, weight decay, clipping, averaging.
        accelerator: Spreads the work over processes.
    """

    def __init__(self, flow: Flow, config: TrainConfig, accelerator: Accelerator) -> None:
        self.flow, self.config, self.accelerator = flow, config, accelerator
        wanted = flow.maps() if config.optimizer == "muon" else ()
        found = dict.fromkeys(p for bijector in wanted for p in bijector.hidden_matrices())
        matrices = [p for p in found if p.requires_grad]
        others = set(flow.parameters()) - set(matrices)
        adamw = torch.optim.AdamW(
            [p for p in flow.parameters() if p.requires_grad and p in others],
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        optimizers: list[torch.optim.Optimizer] = [adamw]
        if matrices:
            dtype = training_dtype(config.model.compute_dtype) or torch.float32
            muon = Muon(matrices, lr=config.muon_lr, decay=config.muon_decay, dtype=dtype)
            optimizers.append(muon)
        self.losses: nn.Module
        self.losses, *self.optimizers = accelerator.prepare(
            _Losses(flow, config.objective), *optimizers
        )
        self.average = (
            AveragedModel(flow, multi_avg_fn=_moving_average(config.ema_decay))
            if config.ema_decay
            else None
        )

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of a loss [], in nats per dimension, to those of the step so far."""
        self.accelerator.backward(loss)

    def update(self, lr: float, *, valid: bool = True) -> float:
        """Clip, take a step, and update the average, unless the gradient isn't finite.

        Args:
            lr: Learning rate of this step.
            valid: Whether the loss was finite; otherwise its gradient is thrown away.

        Returns:
            The norm of the gradient before it was clipped. If it isn't finite, nothing has changed.
        """
        # Every process has the whole gradient, so none has to ask the others.
        most = self.config.max_grad_norm or math.inf
        parameters = self.flow.parameters()
        norm = float(nn.utils.clip_grad_norm_(parameters, most)) if valid else math.nan
        if math.isfinite(norm):
            share = lr / self.config.lr if self.config.lr else 0.0
            for optimizer, peak in zip(
                self.optimizers, (self.config.lr, self.config.muon_lr), strict=False
            ):
                for group in optimizer.param_groups:
                    group["lr"] = share * peak
                optimizer.step()
            if self.average:
                self.average.update_parameters(self.flow)
        self.zero_grad()
        return norm

    def zero_grad(self) -> None:
        """Forget the gradients."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def state(self) -> dict[str, Any]:
        """Weights, state of the optimisers, and average."""
        return {
            "flow": self.flow.state_dict(),
            # Without groups of parameters: their options are in the settings, and rates change.
            "optimizers": [{"state": one.state_dict()["state"]} for one in self.optimizers],
            "average": self.average.state_dict() if self.average else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned, of the same flow and settings.

        Raises:
            ValueError: If the state of an optimiser is of other weights.
        """
        self.flow.load_state_dict(state["flow"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            now = optimizer.state_dict()["param_groups"]  # from the settings, not the file
            optimizer.load_state_dict({"state": saved["state"], "param_groups": now})
            for group in optimizer.param_groups:
                for p in group["params"]:
                    of_p = optimizer.state.get(p, {})
                    if any(x.shape not in (p.shape, ()) for x in of_p.values()):
                        raise ValueError("an optimiser's state is of other weights")
        if self.average:
            self.average.load_state_dict(state["average"])

    def averaged_flow(self) -> Flow:
        """The flow with averaged weights; the flow itself before the first step."""
        if self.average is None or not self.average.n_averaged:
            return self.flow
        flow = self.average.module
        assert isinstance(flow, Flow)
        return flow


class _Losses(nn.Module):
    """An objective as a module, as `Accelerator.prepare` needs it."""

    def __init__(self, flow: Flow, objective: Objective) -> None:
        super().__init__()
        self.flow, self.objective = flow, objective

    def forward(self, batch: Batch) -> Tensor:
        losses = self.objective.losses(self.flow, batch)
        if losses.shape != (batch.size,):
            raise ValueError(
                f"Expected an objective to give a loss for each of {batch.size} images or samples; "
                f"{type(self.objective).__name__} gave {list(losses.shape)}."
            )
        return losses


Tensors = tuple[Tensor, ...] | list[Tensor]


def _moving_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """An exponential average over at most the last tenth of the steps so far, so that even a slow
    decay soon forgets the initial weights."""

    @torch.no_grad()
    def update(averaged: Tensors, current: Tensors, steps: Tensor | int) -> None:
        n = float(steps)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def prepare_machine() -> None:
    """Make glibc keep freed memory instead of returning it to the system.

    Otherwise every large temporary of a step would get new pages, and each page costs a fault. Does
    nothing on systems other than Linux with glibc.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # of malloc.h
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, -1)  # never
        libc.mallopt(top_pad, 1 << 26)
