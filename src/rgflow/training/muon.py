"""Muon: steps with orthogonal directions, for the matrices that lead to hidden layers."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the Newton–Schulz iteration (Jordan et al. 2024): singular values between 0 and 1 end near 1
after five rounds, and small ones grow as fast as they can."""
ROUNDS = 5
"""Rounds of the iteration, for which its coefficients were chosen."""


class Muon(torch.optim.Optimizer):
    """Momentum whose every step is replaced by the nearest orthogonal matrix (Jordan et al. 2024).

    `torch.optim.Muon` takes single matrices; this takes stacks of them, [..., rows, columns], each
    of which is made orthogonal by itself, all in one batched product.

    Args:
        params: The matrices.
        lr: Step size: the root mean square change of an entry is about lr/√w for w×w matrices.
        momentum: Decay of the average gradient (Nesterov's).
        decay: By how much weights shrink in every step, times lr.
        dtype: Number format of the products; the same as the networks', as bfloat16 is slow where
            a processor has no units for it.

    Example:
        >>> weights = torch.nn.Parameter(torch.zeros(3, 4, 4))
        >>> optimizer = Muon([weights], lr=1.0)
        >>> (weights * torch.randn(3, 4, 4)).sum().backward()
        >>> optimizer.step()
        >>> torch.linalg.svdvals(weights.detach()).mean().round().item()
        1.0
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        *,
        lr: float,
        momentum: float = 0.95,
        decay: float = 0.0,
        dtype: torch.dtype = torch.bfloat16,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change the parameters; there is no closure."""
        for group in self.param_groups:
            # Matrices of one shape go through one product, which many small ones need.
            alike: dict[torch.Size, list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                state = self.state[p]
                if not state:
                    state["average"] = torch.zeros_like(p)
                average = state["average"].lerp_(p.grad, 1 - group["momentum"])
                ahead = p.grad.lerp(average, group["momentum"])
                p.mul_(1 - group["lr"] * group["decay"])
                alike.setdefault(p.shape[-2:], []).append((p, ahead))
            for shape, pairs in alike.items():
                stack = torch.cat([ahead.reshape(-1, *shape) for _, ahead in pairs])
                sizes = [p.numel() // shape.numel() for p, _ in pairs]
                steps = orthogonal(stack.to(self.dtype)).to(stack.dtype).split(sizes)
                for (p, _), step in zip(pairs, steps, strict=True):
                    p.add_(step.view_as(p), alpha=-group["lr"])


def orthogonal(x: Tensor) -> Tensor:
    """Roughly U Vᵀ of the singular value decompositions U S Vᵀ of matrices [..., rows, columns]."""
    if x.shape[-2] > x.shape[-1]:
        return orthogonal(x.mT).mT
    a, b, c = COEFFICIENTS
    y = x.flatten(0, -3) if x.ndim > 2 else x[None]
    y = y / (y.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(ROUNDS):
        gram = torch.bmm(y, y.mT)
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        y = torch.baddbmm(y, factor, y, beta=a)  # (a + b g + c g²) y with g = y yᵀ
    return y.view_as(x)
