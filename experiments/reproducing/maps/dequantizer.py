"""Variational dequantisation: which noise makes integers real numbers is learned as well.

Letters in shapes: N images; C channels; H, W rows and columns; S sites, S = N·H·W; K bins.
"""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rgflow.bijectors.base import Bijector, Context, Mapped, sum_event
from rgflow.bijectors.pixels import LEVELS
from rgflow.bijectors.unit_spline import Spline, make_spline, spline_forward, spline_inverse


class Dequantizer(Bijector):
    """k + ε ↦ k + S(ε), with a spline S of the unit interval onto itself for every value of pixels.

    Flow++ (Ho et al. 2019, section 3.1) draws the noise v of an integer k from a learned q(v | k)
    and maximises the bound E[log p(k + v) − log q(v | k)] of log P(k). With ε uniform and
    v = S(ε), q(v | k) is 1/S′(ε). So the bound is the mean of the log-density log p(k + S(ε)) +
    log S′(ε) of k + ε: dequantised by uniform noise as ever, with this map in front of the flow.
    It stays within the value of a pixel, so encoding is lossless as ever.

    A network computes S from the values of all channels at the site, and of no other site: so
    causal cones stay what they are. At the start it is the identity. What lies outside [0, 256),
    where the logit map has values too, stays.

    Args:
        channels: C.
        hidden: Width of the network.
        bins: Bins of each spline, K.

    Example:
        >>> x = torch.rand(2, 3, 4, 4) * 256
        >>> dequantizer = Dequantizer(3)
        >>> _ = nn.init.normal_(dequantizer.last.weight)
        >>> y, log_det = dequantizer(x)
        >>> bool((y != x).any()), bool((y.floor() == x.floor()).all()), log_det.shape
        (True, True, torch.Size([2]))
    """

    def __init__(self, channels: int, hidden: int = 32, bins: int = 4) -> None:
        super().__init__((channels, None, None))
        self.channels, self.bins = channels, bins
        self.values = nn.Embedding(channels * LEVELS, hidden)
        nn.init.normal_(self.values.weight, std=channels**-0.5)
        self.middle = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, (2 * bins + 1) * channels)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def hidden_matrices(self) -> Iterable[Tensor]:
        return [self.middle.weight]

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        return self._within(spline_forward, x)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        return self._within(spline_inverse, y)

    def _within(self, spline_map: Callable[[Tensor, Spline], Mapped], x: Tensor) -> Mapped:
        """Map the places within the values of pixels."""
        sites = x.movedim(1, -1).reshape(-1, self.channels)  # [S, C]
        value = sites.detach().floor().clamp(0, LEVELS - 1)
        inside = (sites >= 0) & (sites < LEVELS)
        place = torch.where(inside, sites - value, 0.5)
        tiny = torch.finfo(x.dtype).tiny
        d = torch.where(place <= 0.5, place.clamp(min=tiny), place - 1)  # cube coordinates
        d, log_slope = spline_map(d, make_spline(self._params(value.long()), self.bins))
        # The end of a value is the next one already.
        end = torch.nextafter(value + 1, torch.zeros_like(value))
        mapped = torch.minimum(value + torch.where(d > 0, d, 1 + d), end)
        shape = (len(x), *x.shape[2:], self.channels)
        y = torch.where(inside, mapped, sites).reshape(shape)
        log_slope = torch.where(inside, log_slope, 0.0).reshape(shape)
        return y.movedim(-1, 1), sum_event(log_slope)

    def _params(self, values: Tensor) -> Tensor:
        """Of the splines, from the values at sites [S, C]: [S, 2K+1, C]."""
        begins = LEVELS * torch.arange(self.channels, device=values.device)
        h = F.silu(self.middle(F.silu(self.values(values + begins).sum(1))))
        out: Tensor = self.last(h)
        return out.unflatten(1, (-1, self.channels))
