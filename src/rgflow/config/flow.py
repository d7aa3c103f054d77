"""What a flow is made of."""

from dataclasses import field
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Le

from rgflow.cells import Geometry
from rgflow.checks import MAX_BLOCKS, MAX_LEVELS, MAX_SIZE, short
from rgflow.config.earlier import flow_of_earlier
from rgflow.config.maps import AffineMap, Map
from rgflow.config.parts import GaussianPrior, LaplacePrior, LogitPixels, Pixels, PriorKind
from rgflow.geometries import Blocks
from rgflow.kinds import Config, Size, config

ComputeDtype = Literal["float32", "bfloat16", "auto"]
Count = Annotated[int, Ge(0), Le(MAX_SIZE)]
Level = Annotated[int, Ge(0), Le(MAX_LEVELS)]


@config
class FlowConfig(Config):
    """The architecture of one flow (paper, section 3.2 and Appendix A).

    Geometry, map, prior and pixels are of a *kind*, each with options of its own.

    Example:
        >>> config = FlowConfig(height=32, width=32, map=AffineMap(depth=(8, 6, 4, 2)))
        >>> config.to_dict()["prior"]
        {'kind': 'laplace', 'scale': None}
        >>> FlowConfig.from_dict({"map": {"kind": "affine", "bins": 8}})
        Traceback (most recent call last):
        ...
        ValueError: Expected options of the map affine: depth, hidden, blocks, conditioner; \
got 'bins'.
    """

    called = "the flow"

    height: Size = 32
    """Rows of pixels H."""
    width: Size = 32
    """Columns of pixels W."""
    channels: Size = 3
    """Channels C; they stay the same at all levels."""
    levels: Annotated[int | None, Ge(1), Le(MAX_LEVELS)] = None
    """Number of levels; none: as many as the size allows (log2(L/m) + 1 for a square of 2^k)."""
    geometry: Geometry = field(default_factory=Blocks)
    """How the layers of a level are made of cells: blocks, windows, squeeze (that of Real NVP), or
    a class of your own by its import path."""
    map: Map = field(default_factory=AffineMap)
    """How a cell is mapped: affine, cube, coarse_to_fine, window, site, state, convolutional (that
    of Real NVP), or a class of your own by its import path."""
    shared: bool = False
    """One set of weights for all levels (scale-invariant); needs equal depths and widths."""
    shared_from: Level = 0
    """The first of the levels that share their weights; those below it have their own."""
    position_embedding: Count = 0
    """Size of a learned embedding of each cell's position, an input of its map; 0: none."""
    level_embedding: Level = 0
    """How many kinds of levels maps tell apart, if levels share their weights: each of the finest
    is a kind, and all others, with the top, are the last, so that larger images have no level of an
    untrained kind. 0: the level isn't an input."""
    labels: Count | dict[str, Size] = 0
    """Number of classes, if every image comes with a class label; or, of several labels of the data
    set, that of each by its name, such as {glasses: 4, hair: 10}; 0: no labels."""
    label_embedding: Size = 16
    """Size of learned embeddings of the labels, whose sum is an input of all maps."""
    prior: PriorKind = field(default_factory=LaplacePrior)
    """Distribution of every latent: laplace, gaussian, or a class of your own by its import
    path."""
    pixels: Pixels | None = field(default_factory=LogitPixels)
    """From pixels to the flow's own space: logit, marginal, uniform, or none for real-valued
    fields."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    compute_dtype: ComputeDtype = "float32"
    """Number format of the networks in training steps; auto: bfloat16 if a timed matrix product is
    faster in it. Everything else runs in the format of the parameters."""

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The inverse of `to_dict`; also takes what earlier versions wrote.

        Raises:
            ValueError: If a name, a kind or an option isn't known; it names those that are.
        """
        return super().from_dict(flow_of_earlier(values))

    def __post_init__(self) -> None:
        if isinstance(self.labels, dict):
            object.__setattr__(self, "labels", dict(sorted(self.labels.items())))
        for name in ("level_embedding", "shared_from"):
            if getattr(self, name) and not self.shared:
                raise ValueError(
                    f"Expected {name} only where levels share their weights; got "
                    f"{getattr(self, name)}: set shared, or leave it out."
                )
        if self.level_embedding == 1:
            raise ValueError(
                "Expected level_embedding to tell at least 2 kinds of levels apart; got 1: leave "
                "it out."
            )
        if self.geometry.squeezes != self.map.squeezes:
            raise ValueError(
                f"Expected the geometry squeeze and the map convolutional together, as a Real NVP "
                f"has them; got {type(self.geometry).__name__} and {type(self.map).__name__}."
            )
        if self.map.of_levels and not (self.pixels and self.pixels.keeps_levels):
            raise ValueError(
                f"Expected pixels uniform with the map {self.map.kind}, which works on the levels "
                f"of pixels; got {type(self.pixels).__name__}."
            )
        if self.map.states and self.pixels:
            raise ValueError(
                f"Expected no pixel map with the map {self.map.kind}, which is of the states of "
                f"fields; got {type(self.pixels).__name__}: set pixels to none."
            )
        exact = getattr(self.geometry, "exact", None)
        if exact is not None and exact.states != self.map.states:
            both = f": set --model.map.spins '{[*exact.states]}'" if exact.states else ""
            raise ValueError(
                f"Expected a map of the states {short(exact.states)} of the action that draws the "
                f"last half; got {short(self.map.states)}, none being all real numbers"
                f"{both if self.map.states else ''}."
            )
        normal = isinstance(self.prior, GaussianPrior) and self.prior.scale in (None, 1.0)
        if exact is not None and not exact.states and not normal:
            raise ValueError(
                f"Expected the prior gaussian of unit variance where the last half is drawn "
                f"exactly; got {self.prior}."
            )
        if self.geometry.averages and not (self.map.of_levels and self.map.depth == 1):
            raise ValueError(
                "Expected the map window, with depth 1, where coarse images are averages, as these "
                f"are of the levels of pixels; got {self.map.kind} with depth "
                f"{short(self.map.depth)}: use it, or the geometry windows."
            )
        if self.geometry.squeezes and any(
            (self.position_embedding, self.level_embedding, self.labels)
        ):
            raise ValueError(
                "Expected no position_embedding, level_embedding or labels for a Real NVP; got at "
                "least one: leave them out."
            )
        if self.shared:
            for of, name in ((self.geometry, "m"), (self.map, "depth"), (self.map, "hidden")):
                value = getattr(of, name, 0)
                if isinstance(value, tuple) and len(set(value)) > 1:
                    raise ValueError(
                        f"Expected the same {name} at all levels, as weights are shared; got "
                        f"{short(value)}: use {name}={value[0]}, or shared=False."
                    )
            for name in ("period", "reach"):
                value = getattr(self.geometry, name, 0)
                if isinstance(value, tuple) and len(set(value[self.shared_from :])) > 1:
                    raise ValueError(
                        f"Expected the same {name} from level {self.shared_from} on, as weights "
                        f"are shared; got {short(value)}: use {name}={value[-1]}, or shared=False."
                    )
        levels = self.levels or min(self.height, self.width).bit_length()
        depth = self.map.depth
        deep = sum(depth) if isinstance(depth, tuple) else depth * levels
        blocks = getattr(self.map, "blocks", 1)
        if deep * blocks > MAX_BLOCKS:
            raise ValueError(
                f"Expected depth times blocks to be at most {MAX_BLOCKS} for all levels together; "
                f"got {deep} times {blocks}."
            )

    @property
    def classes(self) -> tuple[int, ...]:
        """The number of classes of every label, by name in alphabetical order."""
        if isinstance(self.labels, dict):
            return tuple(self.labels.values())
        return (self.labels,) if self.labels else ()

    @property
    def learns_patches(self) -> bool:
        """Whether its weights serve pictures of any size, so that patches of them are learned."""
        return self.shared and self.geometry.any_size and not self.geometry.periodic

    def in_words(self) -> str:
        """The architecture in a phrase.

        Example:
            >>> FlowConfig().in_words()
            'RG-Flow, m = 4, affine maps, paper networks 512 wide, laplace prior, logit pixel map'
        """
        map = self.map.in_words(self.channels)
        if self.map.squeezes:
            return f"Real NVP, {map}"
        shared = ", one set of weights for all levels" if self.shared else ""
        if self.shared_from:
            shared += f" from level {self.shared_from} on"
        pixels = self.pixels.kind if self.pixels else "no"
        return (
            f"RG-Flow, {self.geometry.in_words()}{shared}, {map}, {self.prior.kind} prior, "
            f"{pixels} pixel map"
        )
