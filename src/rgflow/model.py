"""RG-Flow: images to latents at all scales, and back (paper, section 3.2).

An RG-Flow is an ordered list of layers (level, cells, map). There is one walk through them:
`RGFlow.walk` towards the latents, `RGFlow.walk_back` towards images. Both yield a `Visit` for every
layer: what its cells write, their context, what they become, and the log-determinant. Nothing is
computed before somebody asks for it, or the next layer needs it. Log-likelihoods, latents, changes
of regions, local terms, Jacobians and scores of photographs are all read off this walk.

Letters in shapes: N images; C channels; H, W rows and columns of images, h, w of a level's grid;
R cells of all images; D variables that a cell writes; E size of embeddings.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from rgflow.bijectors import conditional
from rgflow.bijectors.base import Bijector, Compose, Context, Mapped
from rgflow.bijectors.cellwise import BAND, Cellwise, Phases, phases_of, spec_of
from rgflow.bijectors.window import WindowMixture
from rgflow.checks import MAX_LEVELS
from rgflow.config import FlowConfig
from rgflow.flow import Flow
from rgflow.hierarchy import Stage
from rgflow.latents import interleave, split
from rgflow.lattice import Lattice, largest_levels
from rgflow.numerics import derivatives_wanted


@dataclass(eq=False)
class Visit:
    """A layer, as a walk comes to it with some images; everything is computed when it is asked for.

    Attributes:
        layer: The layer.
        x: What comes to it, the grid of its level, [N, C, h, w].
        given: What is known of every image, in its embedding [N, E]; none: nothing.
        first: Whether it is the first layer of its level that the walk visits.
        last: Whether it is the last one.
        top: Whether the level is the highest one, at which everything stays.
        back: Whether the walk goes towards images.
    """

    layer: Cellwise
    x: Tensor
    given: Context | None = None
    first: bool = True
    last: bool = True
    top: bool = True
    back: bool = False

    @property
    def level(self) -> int:
        """The level of the layer."""
        return self.layer.cells.level

    @cached_property
    def read(self) -> tuple[Tensor, Context]:
        """What the cells write, [R, D], and their context, before the layer."""
        return self.layer.read(self.x, self.given)

    @cached_property
    def mapped(self) -> Mapped:
        """What the cells become, [R, D], and the log-determinant of each, [R]."""
        bijector = self.layer.bijector
        return bijector.inverse(*self.read) if self.back else bijector.forward(*self.read)

    @cached_property
    def applied(self) -> Mapped:
        """The grid after the layer, [N, C, h, w], and the log-determinant of every image, [N]."""
        layer = self.layer
        if "read" not in vars(self):  # large layers are then mapped in bands
            return (layer.inverse if self.back else layer.forward)(self.x, self.given)
        y, log_det = self.mapped
        return layer.write(self.x, y), log_det.reshape(len(self.x), -1).sum(1)

    @property
    def after(self) -> Tensor:
        """The grid after the layer, [N, C, h, w]."""
        return self.applied[0]

    @property
    def log_det(self) -> Tensor:
        """The log-determinant of the layer for every image, [N]."""
        return self.applied[1]

    @property
    def log_det_alone(self) -> Tensor:
        """`log_det`, [N], where nobody wants what the cells become."""
        return self.layer.log_det(self.x, self.given)

    @property
    def coarsened(self) -> Tensor:
        """The grid after the layer, [N, C, h, w], as far as other layers read it: with averages,
        where it writes these, and otherwise as before. In cube coordinates, or bytes."""
        if (window := _averages(self.layer)) is None:
            return self.x
        if self.x.is_floating_point():
            return self.layer.write(self.x, window.averages_in_cube(*self.read))
        out = self.x.clone()
        for band in self.layer.bands(max(BAND // len(out), 1)):
            band.write(out, window.averages_of(*band.read(self.x)))
        return out

    @property
    def factored_out(self) -> Tensor:
        """What the level factors out, after its last layer, in the shape of `Latents.levels`."""
        return self.after if self.top else split(self.after)[1]


def _averages(layer: Cellwise) -> WindowMixture | None:
    """The map of a layer, if it puts averages in the place of pixels."""
    window = layer.only(WindowMixture)
    return window if window and window.averages else None


class RGStep(nn.Module):
    """The layers of one level: a step of the renormalization group, x^(h) → x^(h+1), z^(h) (paper,
    eqs. 3 and 4).

    Args:
        layers: Such as disentangler and decimator, in the order in which inference applies them.
        top: Whether this is the highest level, at which everything stays.
    """

    def __init__(self, layers: Sequence[Cellwise], top: bool) -> None:
        super().__init__()
        self.layers = Compose(layers)
        self.cellwise, self.top, self.domain = tuple(layers), top, self.layers.domain


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
                key = self._weights_of(level), cells.name
                if key not in made:
                    top = level == lattice.top or (config.shared and level >= config.shared_from)
                    spec = spec_of(cells, config.channels, top, embedding)
                    stack = (
                        [conditional(spec, cells.exact)]
                        if cells.exact
                        else [of_level.make(spec) for _ in range(depth)]
                    )
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
        """Whether no layer reads what another one writes on the way to the latents, but for
        averages, so that log-determinants don't need what layers write."""
        for level, step in enumerate(self.steps):
            gone = np.zeros(self.lattice.grid(level), dtype=bool)
            for layer in step.cellwise:
                table, written = layer.cells.table, layer.cells.written
                if gone.flat[table[table >= 0]].any():
                    return False
                gone.flat[table[:, :written]] = _averages(layer) is None
            stack = [layer.bijector for layer in step.cellwise]
            if any(not isinstance(of, Compose) or len(of.bijectors) > 1 for of in stack):
                return False
            if not step.top and gone[::2, ::2].any():
                return False
        return True

    @cached_property
    def _phases(self) -> dict[Cellwise, Phases | None]:
        """The layers that can be read together, as `phases_of` gives them."""
        found: dict[Cellwise, Phases | None] = {}
        for step in self.steps:
            found |= phases_of(step.cellwise)
        return found

    @property
    def layers(self) -> tuple[Cellwise, ...]:
        """All layers, in the order in which inference applies them."""
        return tuple(layer for step in self.steps for layer in step.cellwise)

    def walk(
        self, x: Tensor, given: Context | None = None, *, write: bool = True
    ) -> Iterator[Visit]:
        """Visit all layers towards the latents.

        Args:
            x: Images [N, C, H, W] in the domain of the layers; if nothing is written and no map is
                asked for, in any number format.
            given: What is known of every image, in its embedding [N, E].
            write: Whether layers get what those before have written. Otherwise they get
                `Visit.coarsened`.
        """
        for step in self.steps:
            for layer in step.cellwise:
                first, last = layer is step.cellwise[0], layer is step.cellwise[-1]
                visit = Visit(layer, x, given, first, last, step.top)
                yield visit
                x = visit.after if write else visit.coarsened
            x = x[:, :, ::2, ::2]

    def walk_back(
        self, levels: Sequence[Tensor], given: Context | None = None, coarse: Tensor | None = None
    ) -> Iterator[Visit]:
        """Visit all layers towards images, the last first.

        Args:
            levels: What every level factors out, as `Visit.factored_out`, level 0 first. If these
                are the lowest levels only, `coarse` is needed.
            given: What is known of every image, in its embedding [N, E].
            coarse: The grid above these levels, [N, C, h, w].
        """
        steps = self.steps[: len(levels)]
        for step, factored_out in zip(reversed(steps), reversed(levels), strict=True):
            x = factored_out if step.top else interleave(cast(Tensor, coarse), factored_out)
            for layer in reversed(step.cellwise):
                first, last = layer is step.cellwise[-1], layer is step.cellwise[0]
                visit = Visit(layer, x, given, first, last, step.top, back=True)
                yield visit
                x = visit.after
            coarse = x

    def infer(self, x: Tensor, given: Context | None = None) -> Iterator[Stage]:
        grid, log_det = x, x.new_zeros(len(x))
        for visit in self.walk(x, given):
            if visit.first:
                grid, log_det = visit.x, x.new_zeros(len(x))
            log_det = log_det + visit.log_det
            if visit.last:
                yield Stage(grid, visit.factored_out, log_det)

    def generate(
        self, levels: Sequence[Tensor], given: Context | None = None, coarse: Tensor | None = None
    ) -> Iterator[Stage]:
        log_det: Tensor | float = 0.0
        for visit in self.walk_back(levels, given, coarse):
            log_det = log_det + visit.log_det
            if visit.last:
                yield Stage(visit.after, levels[visit.level], log_det)
                log_det = 0.0

    def log_det(self, x: Tensor, given: Context | None = None) -> Tensor:
        """As for `Flow.log_det`. If no layer reads what another one writes, nothing is written.
        With gradients, layers of the same weights are then one call of their map, which is faster
        than many small ones; without, one layer after another takes less memory."""
        averages = self.config.geometry.averages
        if not self.writes_last or (averages and derivatives_wanted(x)):
            return super().log_det(x, given)
        total = x.new_zeros(len(x))
        together: dict[Bijector, list[tuple[Tensor, Context]]] = {}
        phases = {} if derivatives_wanted(x) else self._phases
        for visit in self.walk(x, given, write=False):
            if not torch.is_grad_enabled():
                total = total + visit.log_det_alone
            elif (layer := visit.layer) not in phases:
                together.setdefault(layer.bijector, []).append(visit.read)
            elif of_all := phases[layer]:
                together.setdefault(layer.bijector, []).append(of_all.read(visit.x, given))
        for bijector, parts in together.items():
            cells, contexts = zip(*parts, strict=True)
            log_dets = bijector.log_det(torch.cat(cells), Context.joined(contexts))
            for log_det in log_dets.split([len(own) for own in cells]):
                total = total + log_det.view(len(x), -1).sum(1)
        return total

    def load_weights_from(self, other: "RGFlow") -> None:
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
        total = sum(config.classes) * config.label_embedding
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
