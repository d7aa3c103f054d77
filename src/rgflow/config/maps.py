"""Maps of cells: which there are, and their options."""

from dataclasses import field, replace
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal, Self

from annotated_types import Ge, Le, Len

from rgflow.checks import MAX_BINS, MAX_SIZE, MAX_STATES, short
from rgflow.kinds import Kind, Named, PerLevel, Size, config, sizes_in_words

Conditioner = Literal["paper", "released", "trunk"]
Bins = Annotated[int, Ge(2), Le(MAX_BINS)]


@config
class Map(Kind, family="map"):
    """A map of cells, and how many follow one another in every layer."""

    depth: PerLevel = 4
    """Maps in each layer: one number, or one per level, level 0 first."""

    of_levels: ClassVar[bool] = False
    """Whether it maps the values of pixels, 0 to 255, as numbers."""
    squeezes: ClassVar[bool] = False
    """Whether it maps whole images, as the geometry squeeze needs it."""
    is_compiled: ClassVar[bool] = False
    """Whether a training compiles it, if there is a C++ compiler."""
    has_matrices: ClassVar[bool] = True
    """Whether its hidden layers are matrices, which Muon needs."""

    @classmethod
    def of_path(cls, path: str, options: dict[str, Any]) -> Any:
        depth = {name: value for name, value in options.items() if name == "depth"}
        own = {name: value for name, value in options.items() if name != "depth"}
        return OwnMap(path=path, own=own, **depth)

    @property
    def states(self) -> tuple[float, ...]:
        """The values that a site may have; none: all real numbers."""
        return ()

    def depths(self, levels: int, *, shared: bool = False) -> tuple[int, ...]:
        """The depth of every level, level 0 first.

        Raises:
            ValueError: If there are too few or too many, unless levels share their maps.
        """
        depths = (self.depth,) * levels if isinstance(self.depth, int) else self.depth
        if shared and len(set(depths)) == 1:
            depths = depths[:1] * levels
        if len(depths) != levels:
            raise ValueError(
                f"Expected one depth, or one for each of the {levels} levels; "
                f"got {len(depths)}: {depths}."
            )
        return depths

    def at(self, level: int, levels: int) -> Self:
        """The same with the width that networks have at one of so many levels.

        Raises:
            ValueError: If there are more widths than levels.

        Example:
            >>> AffineMap(hidden=(32, 96)).at(2, levels=3).hidden
            96
        """
        hidden = getattr(self, "hidden", None)
        if not isinstance(hidden, tuple):
            return self
        if len(hidden) > levels:
            raise ValueError(
                f"Expected one hidden, or at most one for each of the {levels} levels; "
                f"got {len(hidden)}: {hidden}."
            )
        return replace(self, hidden=hidden[min(level, len(hidden) - 1)])  # type: ignore[call-arg]

    def least_parameters(self, channels: int, sites: int) -> int:
        """A lower bound, of the right order, on the parameters of one map with one width.

        Args:
            channels: Channels C.
            sites: How many sites a cell writes.
        """
        return 0

    def options(self) -> dict[str, Any]:
        """What a map is made with, beside the spec of its cells."""
        return {name: value for name, value in self.values().items() if name != "depth"}

    def in_words(self, channels: int) -> str:
        """A phrase.

        Args:
            channels: Channels C.

        Example:
            >>> AffineMap(hidden=(32, 16)).in_words(3)
            'affine maps, paper networks 32, 16 wide'
        """
        return f"{self.to_dict()['kind']} maps"


@config
class Networks(Map):
    """A map whose parameters are the outputs of networks."""

    hidden: PerLevel = 512
    """Width of the hidden layers: one number, or one per level."""
    blocks: Size = 4
    """Residual blocks in each network."""

    def least_parameters(self, channels: int, sites: int) -> int:
        assert isinstance(self.hidden, int)
        return self.blocks * self.hidden**2

    def networks(self, channels: int) -> str:
        """What networks it has, in words."""
        return "networks"

    def in_words(self, channels: int) -> str:
        return f"{self.kind} maps, {self.networks(channels)} {sizes_in_words(self.hidden)} wide"


@config
class _Coupling(Networks):
    conditioner: Conditioner = "paper"
    """paper (separate networks for s and t), released (the released code's), or trunk (one
    network for all parameters)."""

    @property
    def params(self) -> int:
        """Parameters of each variable's map, at least."""
        return 2

    def least_parameters(self, channels: int, sites: int) -> int:
        assert isinstance(self.hidden, int)
        dim, width = channels * sites, self.hidden
        return (1 + self.params) * (dim - dim % 2) * width + 2 * self.blocks * width**2

    def networks(self, channels: int) -> str:
        return f"{self.conditioner} networks"


@config
class AffineMap(_Coupling, kind="affine"):
    """Affine couplings, the paper's (`rgflow.bijectors.AffineCoupling`)."""


@config
class CubeMap(_Coupling, kind="cube"):
    """Couplings by splines of the unit cube (`rgflow.bijectors.CubeCoupling`)."""

    is_compiled = True

    bins: Bins = 8
    """Bins of each spline."""

    @property
    def params(self) -> int:
        return self.bins


@config
class CoarseToFineMap(Networks, kind="coarse_to_fine"):
    """Mixtures of logistics from coarse to fine (`rgflow.bijectors.CoarseToFine`)."""

    is_compiled = True

    components: Size = 3
    """Logistic distributions in each mixture."""
    splits: Size = 2
    """How often a block's sites are divided into four sublattices, at most as often as its edge
    allows. Its variables form C·4^splits groups, which are generated one after another."""
    stem: Annotated[int, Ge(0), Le(MAX_SIZE)] = 0
    """Width of the networks that groups share, in front of their own: one for each quarter of a
    block but the first; 0: none."""

    def least_parameters(self, channels: int, sites: int) -> int:
        # Of groups, the first quarter may have no networks.
        assert isinstance(self.hidden, int)
        dim, groups = channels * sites, channels * min(4**self.splits, sites) * 3 // 4
        ends = (groups + 2 * self.components) * (dim - dim % 2) * self.hidden
        return ends + self.blocks * self.hidden**2 // 2 + self.stem * dim // 4

    def networks(self, channels: int) -> str:
        return f"up to {channels * 4**self.splits} networks"

    def in_words(self, channels: int) -> str:
        return super().in_words(channels) + f" and stems {self.stem} wide" * bool(self.stem)


@config
class WindowMap(Networks, kind="window"):
    """Mixtures of logistics for one site, given those around it (`rgflow.bijectors.WindowMixture`);
    for the geometry windows."""

    of_levels = True

    depth: PerLevel = 1
    hidden: PerLevel = 160
    blocks: Size = 1
    components: Size = 3
    """Logistic distributions in each mixture."""
    copies: Annotated[int, Ge(0), Le(MAX_BINS)] = 0
    """Further ones, which begin at the values of the nearest known sites."""

    def least_parameters(self, channels: int, sites: int) -> int:
        assert isinstance(self.hidden, int)
        ends = 4 * self.components * channels * sites * self.hidden
        return ends + super().least_parameters(channels, sites)


@config
class SiteMap(Networks, kind="site"):
    """Splines for the real values of one site, given those around it
    (`rgflow.bijectors.SiteSpline`); for fields, with the geometry windows."""

    depth: PerLevel = 1
    hidden: PerLevel = 64
    blocks: Size = 1
    bins: Bins = 8
    """Bins of each spline."""
    odd: bool = False
    """Whether maps are odd functions, so that a field and its negative have the same density."""


@config
class StateMap(Networks, kind="state"):
    """Exact probabilities of the states of one site, given those around it
    (`rgflow.bijectors.SiteStates`); for fields of spins, with the geometry windows."""

    depth: PerLevel = field(default=1, init=False)
    hidden: PerLevel = 64
    blocks: Size = 1
    spins: Annotated[tuple[float, ...], Len(2, MAX_STATES)] = (-1.0, 1.0)
    """The values that a site may have, in order."""
    symmetry: Literal["none", "permutation", "reversal"] = "none"
    """Symmetry of the probabilities: under every permutation of the states, or where their order
    is reversed."""

    @property
    def states(self) -> tuple[float, ...]:
        return self.spins

    def __post_init__(self) -> None:
        if any(a >= b for a, b in pairwise(self.spins)):
            raise ValueError(f"Expected states in order, each once; got {short(self.spins)}.")


@config
class ConvolutionalMap(Networks, kind="convolutional"):
    """Couplings of whole images, those of Real NVP (`rgflow.baselines.RealNVP`); `hidden` is the
    number of feature maps at the first scale, and doubles at every further one. Depth is 1."""

    squeezes = True
    has_matrices = False

    depth: PerLevel = field(default=1, init=False)
    hidden: Size = 512

    def in_words(self, channels: int) -> str:
        return f"{self.hidden} feature maps"


@config
class OwnMap(Named, Map):
    """A map of your own: a `rgflow.bijectors.Bijector` by its import path, which must have been
    imported or be trusted; all further options are arguments of its constructor."""

    def options(self) -> dict[str, Any]:
        return {"path": self.path, "options": self.own}
