"""One step of the optimiser, with all that belongs to it: clipping, AdamW, the moving average."""

import ctypes
import sys
from contextlib import suppress

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from rgflow.config import TrainConfig
from rgflow.flow import Flow


class Optimisation:
    """AdamW on a flow (paper, Appendix A), and the moving average of its weights.

    Args:
        flow: The flow.
        config: Betas, weight decay, clipping, averaging.
        accelerator: Spreads the work over processes; none: this one alone.
    """

    def __init__(
        self, flow: Flow, config: TrainConfig, accelerator: Accelerator | None = None
    ) -> None:
        self.flow, self.config, self.accelerator = flow, config, accelerator
        optimizer = torch.optim.AdamW(
            flow.parameters(),
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.model: nn.Module = flow
        self.optimizer: torch.optim.Optimizer = optimizer
        if accelerator:
            self.model, self.optimizer = accelerator.prepare(flow, optimizer)
        self.average = (
            AveragedModel(flow, multi_avg_fn=get_ema_multi_avg_fn(config.average))
            if config.average
            else None
        )

    def step(self, loss: Tensor, lr: float) -> float:
        """Backward pass, clipping, AdamW, average.

        Args:
            loss: In nats per dimension.
            lr: Learning rate of this step.

        Returns:
            The norm of the gradient before it was clipped.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad()
        if self.accelerator:
            self.accelerator.backward(loss)
        else:
            loss.backward()
        norm = self._clip()
        self.optimizer.step()
        if self.average:
            self.average.update_parameters(self.flow)
        return norm

    def _clip(self) -> float:
        """Scale the gradient down to the largest norm allowed; gradients that are smaller, which is
        most of them, aren't touched. Gradients are whole in every process, so each can do it."""
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        norm = nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        if self.config.clip and norm > self.config.clip:
            nn.utils.clip_grads_with_norm_(parameters, self.config.clip, norm)
        return float(norm)

    def averaged_flow(self) -> Flow:
        """The flow with averaged weights; before the first step, or without average, as it is."""
        if self.average is None or not self.average.n_averaged:
            return self.flow
        flow = self.average.module
        assert isinstance(flow, Flow)
        return flow


def prepare_machine() -> None:
    """Have glibc keep freed memory instead of giving it back to the system.

    The large temporaries of a step would otherwise be new pages at every call, each of which costs
    a page fault. Does nothing elsewhere than on Linux with glibc.
    """
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # of malloc.h
    if not sys.platform.startswith("linux"):
        return
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(mmap_threshold, 1 << 30)
        libc.mallopt(trim_threshold, -1)  # never
        libc.mallopt(top_pad, 1 << 26)
