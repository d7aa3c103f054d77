"""Splines for the real values of one site, given the known sites of a window around it.

Letters in shapes: R rows (sites); C channels; S sites of the context; E numbers of embeddings;
K bins; P parameters of a variable.
"""

import math
from collections.abc import Iterable
from itertools import chain
from typing import cast

import torch
from torch import Tensor, nn

from rgflow.bijectors.base import Bijector, Context, Mapped, MapSpec
from rgflow.bijectors.rational_quadratic import rational_quadratic
from rgflow.conditioners import WindowNetwork
from rgflow.config import SiteMap
from rgflow.kinds import made_from

INPUT_RANGE = 3.0
"""Networks see values squashed into ±this, so that large values don't lead to still larger ones."""
LOG_SCALE_RANGE = 2.0
"""log σ differs from its constant by at most this, for the same reason."""


@made_from(SiteMap)
class SiteSpline(Bijector):
    """Real values of one site, x = μ + σ·f(y), given the context.

    f is a rational-quadratic spline (Durkan et al. 2019, arXiv:1906.04032), μ a linear
    function of the context plus a network's output, and σ and the spline are the network's. So
    fields whose distribution is Gaussian can be learned exactly, as far as windows reach. Channels
    come in order, each with a network that also sees the channels before it. Both directions
    evaluate every network once.

    With `odd` the map takes (−context, −y) to −x: outputs of the network at the context and at its
    negative are joined, with the spline mirrored. A flow of odd maps has exactly the symmetry Z₂,
    p(−φ) = p(φ), if its prior is even.

    Args:
        spec: Of the cells.
        hidden: Width of the networks.
        blocks: Residual blocks of each.
        bins: Bins of the splines, which map [−5, 5] to itself.
        odd: Whether the map is odd; networks then run twice.

    Raises:
        ValueError: If `odd` is wanted where cells know more than values that change their sign.

    Example:
        >>> site = SiteSpline(MapSpec(channels=1, sites=1, context=4), hidden=8, odd=True)
        >>> x, around = torch.randn(5, 1), torch.randn(5, 4)
        >>> y, _ = site(x, Context(around, around[:, :0]))
        >>> opposite, _ = site(-x, Context(-around, around[:, :0]))
        >>> torch.allclose(opposite, -y)
        True
    """

    def __init__(
        self, spec: MapSpec, *, hidden: int = 64, blocks: int = 1, bins: int = 8, odd: bool = False
    ) -> None:
        super().__init__((spec.dim,))
        if odd and (spec.flags or spec.embedding):
            raise ValueError(
                "Expected a periodic boundary and no embeddings for maps that are odd; got some: "
                "leave odd out."
            )
        self.bins, self.odd = bins, odd
        seen = spec.features + spec.embedding
        known = [spec.context + k for k in range(spec.dim)]
        self.linear = nn.ModuleList(
            nn.Linear(n, 1, bias=False) if n else nn.Identity() for n in known
        )
        self.networks = nn.ModuleList(
            WindowNetwork(max(seen + k, 1), hidden, blocks, 3 * bins + 1) for k in range(spec.dim)
        )
        self.log_scale = nn.Parameter(torch.zeros(spec.dim))
        for weight in self.linear.parameters():
            nn.init.zeros_(weight)

    def hidden_matrices(self) -> Iterable[Tensor]:
        networks = cast(Iterable[WindowNetwork], self.networks)
        return chain.from_iterable(network.hidden_matrices() for network in networks)

    def rescale(self, scale: float) -> None:
        nn.init.constant_(self.log_scale, math.log(scale))

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        parts, total = [], x.new_zeros(len(x))
        for k, value in enumerate(x.T):
            mean, log_scale, spline = self._of(k, x[:, :k], context)
            inner = (value - mean) * (-log_scale).exp()
            z, log_slope = rational_quadratic(inner, spline, inverse=True)
            parts.append(z)
            total = total + log_slope - log_scale
        return torch.stack(parts, 1), total

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        x, total = y[:, :0], y.new_zeros(len(y))
        for k, z in enumerate(y.T):
            mean, log_scale, spline = self._of(k, x, context)
            value, log_slope = rational_quadratic(z, spline)
            x = torch.cat((x, (mean + log_scale.exp() * value)[:, None]), 1)
            total = total + log_slope + log_scale
        return x, total

    def _of(self, k: int, before: Tensor, context: Context | None) -> tuple[Tensor, Tensor, Tensor]:
        """Of channel k of all rows, given those before it [R, k]: mean and log-scale [R], and the
        parameters of the splines [P, R]."""
        known = before if context is None else torch.cat((context.values, before), 1)
        seen = known
        if context is not None:
            seen = torch.cat((context.features, context.embedding, before), 1)
        network, linear = self.networks[k], self.linear[k]
        seen = seen / (1 + (seen / INPUT_RANGE).square()).sqrt()
        opposite = -seen
        if not seen.shape[1]:  # nothing is known, which has no sign
            seen = opposite = before.new_ones(len(before), 1)
        out = network(torch.cat((seen, opposite)) if self.odd else seen).to(before.dtype).T
        mean, log_scale, spline = out.split((1, 1, 3 * self.bins - 1))
        log_scale = LOG_SCALE_RANGE * (log_scale / LOG_SCALE_RANGE).tanh()
        if self.odd:
            mean, log_scale = _half(mean, -1), _half(log_scale, 1)
            parts = spline.split((self.bins, self.bins, self.bins - 1))
            spline = torch.cat([_half(part, 1) for part in parts])
        found = mean[0]
        if known.shape[1]:
            found = found + linear(known)[:, 0]
        return found, self.log_scale[k] + log_scale[0], spline


def _half(both: Tensor, sign: int) -> Tensor:
    """The even (sign 1) or odd (−1) part of outputs at the context, and at its negative [P, 2R],
    of which the order is mirrored."""
    at, opposite = both.chunk(2, 1)
    return (at + sign * opposite.flip(0)) / 2
