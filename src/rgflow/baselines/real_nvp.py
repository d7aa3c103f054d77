"""Real NVP (Dinh, Sohl-Dickstein and Bengio 2017, arXiv:1605.08803).

At every scale three couplings with checkerboard masks, a squeeze, three with channel masks; then
half of the variables are factored out as latents. The last scale has four couplings with
checkerboard masks and no squeeze. The networks are residual convolutional networks with weight
norm, with twice the feature maps at each next scale. Left out is batch normalisation, of the
networks and between couplings: with it the density of an image would depend on the others in its
batch.

Letters in shapes: N images; K channels at a scale; C channels of an image; h, w rows and columns.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from rgflow.bijectors.base import Bijector, Compose, Context, Domain, Mapped, sum_event
from rgflow.bijectors.cellwise import cut, join
from rgflow.config import ConvolutionalMap, FlowConfig
from rgflow.flow import Flow
from rgflow.hierarchy import Stage
from rgflow.lattice import SqueezeSites
from rgflow.numerics import EXACT, Precision

COUPLINGS = 3
"""Couplings of each kind at a scale."""
LAST_COUPLINGS = 4
"""Couplings at the last scale."""


class RealNVP(Flow):
    """Real NVP, with the methods of `RGFlow`.

    `levels` of the config is the number of scales (none: as many as leave a grid of at least 4×4);
    its geometry is `Squeeze`, its map a `ConvolutionalMap`.

    Args:
        config: The architecture.

    Raises:
        ValueError: If the size doesn't fit the number of scales, or an image doesn't fit.

    Example:
        >>> from rgflow import Squeeze
        >>> map = ConvolutionalMap(hidden=8, blocks=1)
        >>> config = FlowConfig(height=8, width=8, geometry=Squeeze(), map=map)
        >>> flow = RealNVP(config)
        >>> [tuple(z.shape) for z in flow.encode(torch.rand(2, 3, 8, 8) * 255).levels]
        [(2, 2, 3, 4, 4), (2, 2, 3, 4, 4)]
    """

    squeezes: ClassVar[bool] = True
    lattice: SqueezeSites
    steps: Sequence["RealNVPStep"]

    def make_lattice(self) -> SqueezeSites:
        """The geometry of the latents."""
        config = self.config
        levels = config.levels or _default_levels(config.height, config.width)
        return SqueezeSites(height=config.height, width=config.width, levels=levels)

    def make_steps(self) -> Iterator["RealNVPStep"]:
        """One step per scale."""
        for level in range(self.lattice.levels):
            yield RealNVPStep(self.config, level, top=level == self.lattice.top)

    def infer(self, x: Tensor, given: Context | None = None) -> Iterator[Stage]:
        for step in self.steps:
            coarse, factored_out, log_det = step(x)
            yield Stage(x, factored_out, log_det)
            x = coarse

    def generate(
        self, levels: Sequence[Tensor], given: Context | None = None, coarse: Tensor | None = None
    ) -> Iterator[Stage]:
        steps = self.steps[: len(levels)]
        for step, factored_out in zip(reversed(steps), reversed(levels), strict=True):
            coarse, log_det = step.inverse(coarse, factored_out)
            yield Stage(coarse, factored_out, log_det)

    @classmethod
    def least_parameters(cls, config: FlowConfig) -> int:
        """As for `Flow`: the networks of the last scale."""
        top = (config.levels or _default_levels(config.height, config.width)) - 1
        map = _map(config)
        width, channels = map.hidden << top, config.channels << top
        return LAST_COUPLINGS * width * (18 * map.blocks * width + 9 * channels)


def _default_levels(height: int, width: int) -> int:
    levels = 1
    while min(height, width) >> levels >= 4 and (height | width) % (1 << levels) == 0:
        levels += 1
    return levels


def _map(config: FlowConfig) -> ConvolutionalMap:
    return cast(ConvolutionalMap, config.map)  # as the geometry squeeze needs it


class RealNVPStep(nn.Module):
    """One scale, 0 first: couplings, squeeze, couplings, and half of the variables are factored
    out; at the top, the last scale, everything stays.
    """

    domain: Domain = "real"

    def __init__(self, config: FlowConfig, level: int, top: bool) -> None:
        super().__init__()
        self.channels, self.top = config.channels, top
        k = config.channels << level
        hidden = _map(config).hidden << level

        def couplings(count: int, channels: int, hidden: int, checkerboard: bool) -> Compose:
            made = (
                ConvCoupling(config, channels, hidden, parity=n % 2, checkerboard=checkerboard)
                for n in range(count)
            )
            return Compose(made, config.checkpointing)

        self.before = couplings(LAST_COUPLINGS if top else COUPLINGS, k, hidden, True)
        self.after = None if top else couplings(COUPLINGS, 4 * k, 2 * hidden, False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [N, K, h, w]: the coarse grid [N, 2K, h/2, w/2], what is factored out
        [N, 2K/C, C, h/2, w/2], and the log-determinant."""
        x, log_det = self.before(x)
        if self.after is None:
            return x[:, :, :0, :0], x.unflatten(1, (-1, self.channels)), log_det
        y, more = self.after(_squeeze(x))
        coarse, factored_out = y.chunk(2, 1)
        return coarse, factored_out.unflatten(1, (-1, self.channels)), log_det + more

    def inverse(self, coarse: Tensor | None, factored_out: Tensor) -> tuple[Tensor, Tensor]:
        """What came to this scale [N, K, h, w], and the log-determinant."""
        x: Tensor = factored_out.flatten(1, 2)
        more: Tensor | float = 0.0
        if self.after is not None:
            y, more = self.after.inverse(torch.cat((cast(Tensor, coarse), x), 1))
            x = _unsqueeze(y)
        x, log_det = self.before.inverse(x)
        return x, log_det + more


def _squeeze(x: Tensor) -> Tensor:
    """[N, K, h, w] → [N, 4K, h/2, w/2]: every sublattice becomes four, of offsets (0, 0) and (1, 1)
    in the first half of the channels, (0, 1) and (1, 0) in the second."""
    n, k, h, w = x.shape
    return cut(x, 2).view(n, h // 2, w // 2, 4 * k).permute(0, 3, 1, 2).contiguous()


def _unsqueeze(y: Tensor) -> Tensor:
    """The inverse of `_squeeze`."""
    k, h, w = y.shape[1:]
    return join(y.permute(0, 2, 3, 1).reshape(-1, k), 2, k // 4, h, w)


class ConvCoupling(Bijector):
    """x·exp(s) + t for one half of the variables, with s and t from the other half.

    Args:
        config: Of the flow.
        channels: Channels K of what it maps.
        hidden: Feature maps of its network.
        parity: Which half is mapped.
        checkerboard: Halves by a checkerboard of sites; otherwise by channels.
    """

    def __init__(
        self, config: FlowConfig, channels: int, hidden: int, *, parity: int, checkerboard: bool
    ) -> None:
        super().__init__((channels, None, None))
        self.parity, self.checkerboard = parity, checkerboard
        inputs, outputs = (channels + 1, channels) if checkerboard else (channels // 2,) * 2
        self.network = ResidualNetwork(inputs, 2 * outputs, hidden, _map(config).blocks)

    def transform(self, x: Tensor, context: Context | None = None) -> Mapped:
        known, rest, mask = self._halves(x)
        s, t = self._scale_and_shift(known, mask)
        return self._join(known, rest * s.exp() + t, mask), sum_event(s)

    def invert(self, y: Tensor, context: Context | None = None) -> Mapped:
        known, rest, mask = self._halves(y)
        s, t = self._scale_and_shift(known, mask)
        return self._join(known, (rest - t) * (-s).exp(), mask), -sum_event(s)

    def _halves(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """What conditions, what is mapped, and the mask of the former, if there is one."""
        if not self.checkerboard:
            first, second = x.chunk(2, 1)
            return (first, second, None) if self.parity else (second, first, None)
        rows = torch.arange(x.shape[2], device=x.device)[:, None]
        columns = torch.arange(x.shape[3], device=x.device)
        mask = ((rows + columns + self.parity) % 2).to(x.dtype)
        return x * mask, x * (1 - mask), mask

    def _scale_and_shift(self, known: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        if mask is None:
            s, t = self.network(known).chunk(2, 1)
            return torch.tanh(s), t
        s, t = self.network(torch.cat((known, mask.expand_as(known[:, :1])), 1)).chunk(2, 1)
        return torch.tanh(s) * (1 - mask), t * (1 - mask)

    def _join(self, known: Tensor, mapped: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            return known + mapped
        return torch.cat((known, mapped) if self.parity else (mapped, known), 1)


class ResidualNetwork(nn.Module):
    """A residual network of 3×3 convolutions with weight norm, and skip connections to its end.

    Args:
        inputs: Channels in.
        outputs: Channels out; all 0 at the start.
        hidden: Feature maps.
        blocks: Residual blocks.
    """

    precision: Precision = EXACT

    def __init__(self, inputs: int, outputs: int, hidden: int, blocks: int) -> None:
        super().__init__()
        self.first = _convolution(inputs, hidden, 3)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.ReLU(),
                _convolution(hidden, hidden, 3),
                nn.ReLU(),
                _convolution(hidden, hidden, 3),
            )
            for _ in range(blocks)
        )
        self.skips = nn.ModuleList(_convolution(hidden, hidden, 1) for _ in range(blocks + 1))
        self.last = _convolution(hidden, outputs, 1)
        self.scale = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """[N, inputs, h, w] → [N, outputs, h, w]."""
        low = self.precision.networks
        with torch.autocast(x.device.type, low or torch.bfloat16, enabled=low is not None):
            h = self.first(x)
            out = self.skips[0](h)
            for block, skip in zip(self.blocks, self.skips[1:], strict=True):
                h = h + block(h)
                out = out + skip(h)
            y = self.last(F.relu(out))
        return y.to(x.dtype) * self.scale


def _convolution(inputs: int, outputs: int, size: int) -> nn.Module:
    return weight_norm(nn.Conv2d(inputs, outputs, size, padding=size // 2))
