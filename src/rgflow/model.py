"""RG-Flow: images to latents at all scales, and back (paper, section 3.2)."""

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from rgflow.bijectors import FIXED, make_map
from rgflow.bijectors.base import Bijector, Compose, Context
from rgflow.bijectors.cellwise import Cellwise, spec_of
from rgflow.checks import MAX_LEVELS
from rgflow.config import FlowConfig
from rgflow.flow import Flow
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
        >>> from rgflow import AffineMap, FlowConfig
        >>> flow = RGFlow(FlowConfig(height=8, width=8, map=AffineMap(depth=1, hidden=16)))
        >>> x8 = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
        >>> z = flow.encode(x8)
        >>> bool((flow.decode(z).floor() == x8).all())
        True
        >>> flow.log_prob(x8).shape, flow.sample(4).shape
        (torch.Size([2]), torch.Size([4, 3, 8, 8]))
    """

    lattice: Lattice
    steps: Sequence["RGStep"]

    def make_lattice(self) -> Lattice:
        """The cells and levels given by the config."""
        config = self.config
        return Lattice(
            height=config.height,
            width=config.width,
            levels=config.levels or 0,
            geometry=config.geometry,
        )

    def make_steps(self) -> Iterator["RGStep"]:
        """The layers of every level."""
        config, lattice = self.config, self.lattice
        made: dict[tuple[int, str], Bijector] = {}
        positions = config.position_embedding
        embedding = positions + config.level_embedding
        embedding += config.label_embedding if config.labels else 0
        for level, depth in enumerate(config.map.depths(lattice.levels, shared=config.shared)):
            of_level, layers = config.map.at(level, lattice.levels), []
            for cells in lattice.layers(level):
                if cells.map:
                    fixed = FIXED[cells.map](spec_of(cells, config.channels))
                    layers.append(Cellwise(fixed, cells, config.channels))
                    continue
                key = self._weights_of(level), cells.name
                if key not in made:
                    top = level == lattice.top or (config.shared and level >= config.shared_from)
                    spec = spec_of(cells, config.channels, top, embedding)
                    stack = [make_map(of_level, spec) for _ in range(depth)]
                    made[key] = Compose(stack, config.checkpointing)
                code = self._code_of(level)
                layers.append(Cellwise(made[key], cells, config.channels, positions, code))
            yield RGStep(layers, top=level == lattice.top)

    def _weights_of(self, level: int) -> int:
        """The first level that has the same weights as a level."""
        config = self.config
        return min(level, config.shared_from) if config.shared else level

    def _code_of(self, level: int) -> tuple[float, ...]:
        """The code of a level that maps see: 1 for its kind, and 0 for others.

        The top is of the last kind even in small images, as it has layers that were trained as that
        alone. Levels with weights of their own are of the first.
        """
        kinds, first = self.config.level_embedding, self.config.shared_from
        kind = min(max(level - first, 0), kinds - 1)
        if first <= level == self.lattice.top:
            kind = kinds - 1
        return tuple(float(one == kind) for one in range(kinds))

    @cached_property
    def writes_last(self) -> bool:
        for level, step in enumerate(self.steps):
            gone = np.zeros(self.lattice.grid(level), dtype=bool)
            layers = [layer for layer in step.cellwise if not layer.cells.map]
            for layer in layers:
                table, written = layer.cells.table, layer.cells.written
                if gone.flat[table[table >= 0]].any():
                    return False
                gone.flat[table[:, :written]] = True
            stack = [layer.bijector for layer in layers]
            if any(not isinstance(of, Compose) or len(of.bijectors) > 1 for of in stack):
                return False
            if not step.top and gone[::2, ::2].any():
                return False
        return True

    def infer(
        self, x: Tensor, context: Context | None = None, stages: list[Tensor] | None = None
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        if self.precision.latents or stages is not None or not torch.is_grad_enabled():
            return super().infer(x, context, stages)
        return self._at_once(x, context)

    def _at_once(self, x: Tensor, given: Context | None) -> tuple[list[Tensor], Tensor, Tensor]:
        """As `infer`, without what levels factor out, which training doesn't need. So no layer
        waits for another one, and layers with the same weights are one call of their map, which is
        faster than many small ones."""
        x, preprocess = self.preprocess(x) if self.preprocess else (x, x.new_zeros(len(x)))
        log_dets = [x.new_zeros(len(x)) for _ in self.steps]
        cells: dict[Bijector, list[tuple[int, Tensor, Context]]] = {}
        for level, step in enumerate(self.steps):
            for layer in step.cellwise:
                if layer.cells.map:
                    x, log_det = layer(x, given)
                    log_dets[level] = log_dets[level] + log_det
                else:
                    own = cells.setdefault(layer.bijector, [])
                    own.append((level, *layer.read(x, given)))
            x, _ = step.split(x)
        for bijector, parts in cells.items():
            levels, written, contexts = zip(*parts, strict=True)
            _, log_det = bijector(torch.cat(written), Context.joined(contexts))
            sizes = [len(own) for own in written]
            for level, one in zip(levels, log_det.split(sizes), strict=True):
                log_dets[level] = log_dets[level] + one.view(len(preprocess), -1).sum(1)
        return [], torch.stack(log_dets, 1), preprocess

    def take_weights(self, other: "RGFlow") -> None:
        rest = {k: x for k, x in other.state_dict().items() if not k.startswith("steps.")}
        self.load_state_dict(rest, strict=False)
        if other.levels > 1:  # as it doesn't depend on the size, and takes long for large ones
            self.__dict__["writes_last"] = other.writes_last
        theirs = {
            (other._weights_of(level), layer.cells.name): layer
            for level, step in enumerate(other.steps)
            for layer in step.cellwise
        }
        for level, step in enumerate(self.steps):
            for layer in step.cellwise:
                if layer.cells.map:
                    continue
                found = theirs.get((self._origin(level, other), layer.cells.name))
                try:
                    assert found is not None
                    layer.bijector.load_state_dict(found.bijector.state_dict())
                    if layer.positions and found.positions:
                        layer.positions.load_state_dict(found.positions.state_dict())
                except (AssertionError, RuntimeError) as error:
                    raise ValueError(
                        f"Expected a size with the same layers; of {self.config.height}×"
                        f"{self.config.width} images, level {level} has {layer.cells.name}, for "
                        f"which there are no weights: share them between levels, or keep the size."
                    ) from error

    def _origin(self, level: int, other: "RGFlow") -> int:
        """Whose weights a level takes: those of the same level, counted from the finest, as it sees
        the same scale; the highest those of the highest; in between those of the last before it."""
        if self.config.shared:
            return self._weights_of(level)
        if level == self.levels - 1:
            return other.levels - 1
        return min(level, max(other.levels - 2, 0))

    @classmethod
    def least_parameters(cls, config: FlowConfig) -> int:
        """As for `Flow`: those of the maps of all layers, and of embeddings."""
        geometry, channels = config.geometry, config.channels
        total = config.labels * config.label_embedding
        fit = largest_levels(config.height, config.width, geometry)
        levels = config.levels or max(fit, geometry.least_levels)
        for level in range(min(levels, config.shared_from + 1) if config.shared else levels):
            map, unit = config.map.at(level, MAX_LEVELS), geometry.unit(level)
            depth = (
                map.depth
                if isinstance(map.depth, int)
                else map.depth[min(level, len(map.depth) - 1)]
            )
            one = map.least_parameters(channels, geometry.written(level))
            total += geometry.least_layers * depth * one
            if level == 0:
                places = (config.height // unit) * (config.width // unit)
                total += config.position_embedding * places
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
