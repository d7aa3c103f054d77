"""RG-Flow: images to latents at all scales, and back (paper, section 3.2)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar

from torch import Tensor, nn

from rgflow.bijectors import make_bijector
from rgflow.bijectors.base import Bijector, Compose, Context
from rgflow.bijectors.cellwise import Cellwise, spec_of
from rgflow.config import Architecture, FlowConfig
from rgflow.flow import Flow
from rgflow.geometries import Blocks
from rgflow.latents import interleave, split
from rgflow.lattice import Lattice, largest_levels


class RGFlow(Flow):
    """A normalizing flow of images built like a renormalization-group network.

    Its methods are those of `Flow`.

    Args:
        config: The architecture.

    Raises:
        ValueError: If the config contradicts itself, or an image doesn't fit.

    Example:
        >>> import torch
        >>> from rgflow import FlowConfig
        >>> flow = RGFlow(FlowConfig(height=8, width=8, depth=1, hidden=16))
        >>> x8 = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
        >>> z = flow.encode(x8)
        >>> bool((flow.decode(z).floor() == x8).all())
        True
        >>> flow.log_prob(x8).shape, flow.sample(4).shape
        (torch.Size([2]), torch.Size([4, 3, 8, 8]))
    """

    architecture: ClassVar[Architecture] = "rg"
    lattice: Lattice
    steps: Sequence["RGStep"]

    def make_lattice(self) -> Lattice:
        """Blocks and levels as the config says."""
        config = self.config
        geometry = Blocks(
            m=config.m,
            boundary=config.boundary,
            order=config.order,
            disentanglers=config.disentanglers,
        )
        return Lattice(
            height=config.height, width=config.width, levels=config.levels or 0, geometry=geometry
        )

    def make_steps(self) -> Iterator["RGStep"]:
        """Disentangler and decimator of every level."""
        config, lattice = self.config, self.lattice
        made: dict[str, Bijector] = {}
        each = zip(config.depths(lattice.levels), config.widths(lattice.levels), strict=True)
        for level, (depth, hidden) in enumerate(each):
            of_level, layers = replace(config, hidden=hidden), []
            for cells in lattice.layers(level):
                embedding = config.position_embedding
                if not (config.shared and cells.name in made):
                    top = config.shared or level == lattice.top
                    of_labels = config.label_embedding if config.labels else 0
                    spec = spec_of(cells, config.channels, top, embedding + of_labels)
                    stack = [make_bijector(of_level, spec) for _ in range(depth)]
                    made[cells.name] = Compose(stack, config.checkpointing)
                layers.append(Cellwise(made[cells.name], cells, config.channels, embedding))
            yield RGStep(layers, top=level == lattice.top)

    @classmethod
    def least_parameters(cls, config: FlowConfig) -> int:
        """As for `Flow`: the first and the last layers of networks, and what lies between."""
        kind, channels, total = config.bijector, config.channels, 0
        if "." in kind:  # somebody's own, which may have none
            return 0
        params = {
            "affine": 2,
            "mixture": 3 * config.components,
            "coarse_to_fine": 2 * config.components,
            "autoregressive": max(config.bins, 2),
        }.get(kind, config.bins)
        every = (config.m, config.depth, config.hidden)
        of_level = [x if isinstance(x, tuple) else (x,) for x in every]
        fit = largest_levels(config.height, config.width, Blocks(m=config.m))
        levels = 1 if config.shared else config.levels or max(fit, *map(len, of_level))
        for level in range(levels):
            m, depth, width = (of[min(level, len(of) - 1)] for of in of_level)
            dim, inner, networks = channels * m * m, config.blocks * width * width, 1
            if kind == "coarse_to_fine":  # where the first quarter of the groups may have none
                networks = channels * 4 ** min(config.splits, m.bit_length() - 1) * 3 // 4
                inner = inner // 2 + config.stem * dim // 4
            elif kind == "autoregressive":
                inner = 2 * (inner - width * width)
            else:  # couplings
                inner *= 2
            mixing = channels * channels if config.channel_mixing else 0
            total += depth * ((networks + params) * (dim - dim % 2) * width + inner + mixing)
            places = (config.height // m) * (config.width // m)
            total += config.position_embedding * (places if level == 0 else 0)
        return total


class RGStep(nn.Module):
    """One step of the renormalization group, x^(h) → x^(h+1), z^(h) (paper, eqs. 3 and 4).

    Args:
        layers: Disentangler and decimator, in the order in which inference applies them.
        top: Whether this is the highest level, at which everything stays.
    """

    def __init__(self, layers: Sequence[Cellwise], top: bool) -> None:
        super().__init__()
        self.layers = Compose(layers)
        self.cellwise = tuple(layers)
        self.domain, self.top = self.layers.domain, top

    def forward(self, x: Tensor, context: Context | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """The coarse grid (at the top nothing), what is factored out, and the log-determinant
        [N]."""
        y, log_det = self.layers(x, context)
        return *self.split(y), log_det

    def split(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """After the layers: the coarse grid, and what is factored out."""
        return (y[:, :, :0, :0], y) if self.top else split(y)

    def inverse(
        self, coarse: Tensor, factored_out: Tensor, context: Context | None = None
    ) -> tuple[Tensor, Tensor]:
        """The grid of this level, and the log-determinant [N]."""
        y = factored_out if self.top else interleave(coarse, factored_out)
        x, log_det = self.layers.inverse(y, context)
        return x, log_det
