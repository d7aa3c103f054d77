"""What a flow and a run are made of, as plain data.

Everything here is a frozen, keyword-only dataclass that imports no torch, so that a command line
can parse, print and check it in milliseconds. The modules that do the work take these objects.
"""

import sys
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, Self, get_args

from rgflow.cells import Geometry
from rgflow.checks import (
    MAX_BINS,
    MAX_BLOCKS,
    MAX_LEVELS,
    MAX_SIZE,
    Option,
    check_at_least,
    check_name,
    check_per_level,
    check_type,
    check_whole,
    own_fields,
    short,
)
from rgflow.geometries import GEOMETRIES, Blocks, Squeeze
from rgflow.kinds import from_tagged, merged, tagged
from rgflow.objectives import OBJECTIVES, MaximumLikelihood, Objective, UnknownObjective

Conditioner = Literal["paper", "released", "trunk"]
ComputeDtype = Literal["float32", "bfloat16", "auto"]


def listed(value: int | tuple[int, ...]) -> str:
    """One number for all levels, or one for each, as words.

    >>> listed((8, 4))
    '8, 4'
    """
    return ", ".join(map(str, value if isinstance(value, tuple) else (value,)))


Sizes = int | tuple[int, ...]
"""One number for all levels, or one per level, level 0 first."""


@dataclass(frozen=True, kw_only=True)
class Map:
    """A map of cells, and how many follow one another in every layer; a kind of map is a subclass.

    Its further fields are options of the class that `rgflow.bijectors.MAPS` has for the kind.
    """

    depth: Sizes = 4
    """Maps in each layer: one number, or one per level, level 0 first."""

    def __post_init__(self) -> None:
        own_fields(self)
        self._set_sizes("depth")
        for name, most in (("blocks", MAX_SIZE), ("components", MAX_SIZE), ("splits", MAX_SIZE)):
            if hasattr(self, name):
                check_whole(name, getattr(self, name), 1, most)
        if hasattr(self, "hidden"):
            self._set_sizes("hidden")
        if hasattr(self, "conditioner"):
            check_name("conditioner", self.conditioner, get_args(Conditioner))
        if hasattr(self, "stem"):
            check_whole("stem", self.stem, 0, MAX_SIZE)
        if hasattr(self, "bins"):
            check_whole("bins", self.bins, 2, MAX_BINS)

    def _set_sizes(self, name: str) -> None:
        """Check sizes, and put them in one form."""
        values = check_per_level(name, getattr(self, name), 1, MAX_SIZE)
        several = isinstance(getattr(self, name), list | tuple)
        object.__setattr__(self, name, values if several else values[0])

    def depths(self, levels: int, *, shared: bool = False) -> tuple[int, ...]:
        """Depth of every level, level 0 first; a `ValueError` if there are too few or too many,
        unless levels share their maps."""
        alike = isinstance(self.depth, int) or len(set(self.depth)) == 1
        depths = (self.depth,) * levels if isinstance(self.depth, int) else self.depth
        if alike and len(depths) != levels and shared:
            depths = depths[:1] * levels
        if len(depths) != levels:
            raise ValueError(
                f"Expected one depth, or one for each of the {levels} levels; "
                f"got {len(depths)}: {depths}."
            )
        return depths

    def at(self, level: int, levels: int) -> "Map":
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
        """A lower bound, of the right order, on the parameters of one map.

        Args:
            channels: Channels C.
            sites: How many sites a cell writes.
        """
        return 0

    def options(self) -> dict[str, Any]:
        """What a map is made with, beside the spec of its cells."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "depth"}


@dataclass(frozen=True, kw_only=True)
class _Networks(Map):
    hidden: Sizes = 512
    """Width of the hidden layers: one number, or one per level."""
    blocks: int = 4
    """Residual blocks in each network."""

    def least_parameters(self, channels: int, sites: int) -> int:
        assert isinstance(self.hidden, int)
        return self.blocks * self.hidden**2


@dataclass(frozen=True, kw_only=True)
class _Coupling(_Networks):
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


@dataclass(frozen=True, kw_only=True)
class AffineMap(_Coupling):
    """Affine couplings, the paper's (`rgflow.bijectors.AffineCoupling`)."""


@dataclass(frozen=True, kw_only=True)
class CubeMap(_Coupling):
    """Couplings by splines of the unit cube (`rgflow.bijectors.CubeCoupling`)."""

    bins: int = 8
    """Bins of each spline."""

    @property
    def params(self) -> int:
        return self.bins


@dataclass(frozen=True, kw_only=True)
class CoarseToFineMap(_Networks):
    """Mixtures of logistics from coarse to fine (`rgflow.bijectors.CoarseToFine`)."""

    components: int = 3
    """Logistic distributions in each mixture."""
    splits: int = 2
    """How often a block's sites are divided into four sublattices, at most as often as its edge
    allows. Its variables form C·4^splits groups, which are generated one after another."""
    stem: int = 0
    """Width of the networks that groups share, in front of their own: one for each quarter of a
    block but the first; 0: none."""

    def least_parameters(self, channels: int, sites: int) -> int:
        # Of groups, the first quarter may have no networks.
        assert isinstance(self.hidden, int)
        dim, groups = channels * sites, channels * min(4**self.splits, sites) * 3 // 4
        ends = (groups + 2 * self.components) * (dim - dim % 2) * self.hidden
        return ends + self.blocks * self.hidden**2 // 2 + self.stem * dim // 4


@dataclass(frozen=True, kw_only=True)
class WindowMap(_Networks):
    """Mixtures of logistics for one site, given those around it (`rgflow.bijectors.WindowMixture`);
    for the geometry windows."""

    depth: Sizes = 1
    hidden: Sizes = 160
    blocks: int = 1
    components: int = 3
    """Logistic distributions in each mixture."""

    def least_parameters(self, channels: int, sites: int) -> int:
        assert isinstance(self.hidden, int)
        ends = 4 * self.components * channels * sites * self.hidden
        return ends + super().least_parameters(channels, sites)


@dataclass(frozen=True, kw_only=True)
class SiteMap(_Networks):
    """Splines for the real values of one site, given those around it
    (`rgflow.bijectors.SiteSpline`); for fields, with the geometry windows."""

    depth: Sizes = 1
    hidden: Sizes = 64
    blocks: int = 1
    bins: int = 8
    """Bins of each spline."""
    odd: bool = False
    """Whether maps are odd functions, so that a field and its negative have the same density."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_type("odd", self.odd, bool, "true or false")


@dataclass(frozen=True, kw_only=True)
class ConvolutionalMap(_Networks):
    """Couplings of whole images, those of Real NVP (`rgflow.baselines.RealNVP`); `hidden` is the
    number of feature maps at the first scale, and depth is always 1."""

    depth: Sizes = field(default=1, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.hidden, int):
            raise ValueError(
                f"Expected one number for hidden, as each scale of a Real NVP doubles it; got "
                f"{self.hidden}."
            )


@dataclass(frozen=True, kw_only=True)
class OwnMap(Map):
    """A map of your own: a `rgflow.bijectors.Bijector` by its import path, which must have been
    imported or be trusted; all further options are arguments of its constructor."""

    path: str
    """The import path."""
    own: dict[str, Option | list[Option]] = field(default_factory=dict)
    """Options: numbers, words, true, false, null, or lists of these."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_type("the map's kind", self.path, str, "a name")
        check_type("the map's options", self.own, dict, "a dictionary")
        for name, value in self.own.items():
            for one in value if isinstance(value, list) else [value]:
                kinds = "a number, a word, true, false, null, or a list of these"
                check_type(f"the map's option {name!s:.60}", one, get_args(Option), kinds)

    def options(self) -> dict[str, Any]:
        return dict(self.own)


MAPS: dict[str, type[Map]] = {
    "affine": AffineMap,
    "cube": CubeMap,
    "coarse_to_fine": CoarseToFineMap,
    "window": WindowMap,
    "site": SiteMap,
    "convolutional": ConvolutionalMap,
}


@dataclass(frozen=True, kw_only=True)
class PriorKind:
    """Distribution of every latent; a kind of prior is a subclass. One of your own has a method
    `make()` that returns the prior (`rgflow.priors.Prior`)."""

    scale: float | None = None
    """b, σ or s; none: unit variance."""

    def __post_init__(self) -> None:
        own_fields(self)
        if self.scale is not None:
            check_at_least("the prior's scale", self.scale, 0)
            if not self.scale:
                raise ValueError(f"Expected a positive scale of the prior; got {self.scale}.")


@dataclass(frozen=True, kw_only=True)
class LaplacePrior(PriorKind):
    """p(z) = exp(−|z|/b) / 2b, the paper's sparse prior."""


@dataclass(frozen=True, kw_only=True)
class GaussianPrior(PriorKind):
    """The normal distribution."""


PRIORS: dict[str, type[PriorKind]] = {
    "laplace": LaplacePrior,
    "gaussian": GaussianPrior,
}


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """Map from 8-bit pixels to the flow's own space; a kind of pixel map is a subclass. One of your
    own has a method `make(channels)` that returns the bijector, from [0, 256)."""


@dataclass(frozen=True, kw_only=True)
class LogitPixels(Pixels):
    """The logit of values, the paper's."""


@dataclass(frozen=True, kw_only=True)
class MarginalPixels(Pixels):
    """The distribution function of each channel, then the prior's quantile."""


@dataclass(frozen=True, kw_only=True)
class UniformPixels(Pixels):
    """Values divided by 256, between 0 and 1."""


PIXELS: dict[str, type[Pixels]] = {
    "logit": LogitPixels,
    "marginal": MarginalPixels,
    "uniform": UniformPixels,
}


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
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

    height: int = 32
    """Rows of pixels H."""
    width: int = 32
    """Columns of pixels W."""
    channels: int = 3
    """Channels C; they stay the same at all levels."""
    levels: int | None = None
    """Number of levels; none: as many as the size allows (log2(L/m) + 1 for a square of 2^k)."""
    geometry: Geometry = field(default_factory=Blocks)
    """How the layers of a level are made of cells: blocks, windows, squeeze (that of Real NVP), or
    a class of your own by its import path."""
    map: Map = field(default_factory=AffineMap)
    """How a cell is mapped: affine, cube, coarse_to_fine, window, site, convolutional (that of Real
    NVP), or a class of your own by its import path."""
    shared: bool = False
    """One set of weights for all levels (scale-invariant); needs equal depths and widths."""
    shared_from: int = 0
    """The first of the levels that share their weights; those below it have their own."""
    position_embedding: int = 0
    """Size of a learned embedding of each cell's position, an input of its map; 0: none."""
    level_embedding: int = 0
    """How many kinds of levels maps tell apart, if levels share their weights: each of the finest
    is a kind, and all others, with the top, are the last, so that larger images have no level of an
    untrained kind. 0: the level isn't an input."""
    labels: int = 0
    """Number of classes, if every image comes with a class label; 0: no labels."""
    label_embedding: int = 16
    """Size of a learned embedding of the label, an input of all maps."""
    prior: PriorKind = field(default_factory=LaplacePrior)
    """Distribution of every latent: laplace or gaussian."""
    pixels: Pixels | None = field(default_factory=LogitPixels)
    """From pixels to the flow's own space: logit, marginal, uniform, or none for real-valued
    fields."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    compute_dtype: ComputeDtype = "float32"
    """Number format of the networks in training steps; auto: bfloat16 if a timed matrix product is
    faster in it. Everything else runs in the format of the parameters."""

    def __post_init__(self) -> None:
        own_fields(self)
        for name in ("height", "width", "channels", "label_embedding"):
            check_whole(name, getattr(self, name), 1, MAX_SIZE)
        for name in ("position_embedding", "labels"):
            check_whole(name, getattr(self, name), 0, MAX_SIZE)
        for name in ("level_embedding", "shared_from"):
            check_whole(name, getattr(self, name), 0, MAX_LEVELS)
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
        if self.levels is not None:
            check_whole("levels", self.levels, 1, MAX_LEVELS)
        check_name("compute_dtype", self.compute_dtype, get_args(ComputeDtype))
        for name in ("shared", "checkpointing"):
            check_type(name, getattr(self, name), bool, "true or false")
        for name, base in _BASES.items():
            if name != "pixels" or self.pixels is not None:
                check_type(name, getattr(self, name), base, f"a {base.__name__}")
        if isinstance(self.geometry, Squeeze) != isinstance(self.map, ConvolutionalMap):
            raise ValueError(
                f"Expected the geometry squeeze and the map convolutional together, as a Real NVP "
                f"has them; got {type(self.geometry).__name__} and {type(self.map).__name__}."
            )
        if isinstance(self.map, WindowMap) and not isinstance(self.pixels, UniformPixels):
            raise ValueError(
                "Expected pixels uniform with the map window, which works on the levels of pixels; "
                f"got {type(self.pixels).__name__}."
            )
        if getattr(self.geometry, "coarse", "sites") == "averages" and not isinstance(
            self.map, WindowMap
        ):
            raise ValueError(
                "Expected the map window where coarse images are averages, as these are of the "
                f"levels of pixels; got {type(self.map).__name__}: use it, or coarse=sites."
            )
        told = self.position_embedding, self.level_embedding, self.labels
        if isinstance(self.geometry, Squeeze) and any(told):
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
        levels = self.levels or min(self.height, self.width).bit_length()
        depth = self.map.depth
        deep = sum(depth) if isinstance(depth, tuple) else depth * levels
        blocks = getattr(self.map, "blocks", 1)
        if deep * blocks > MAX_BLOCKS:
            raise ValueError(
                f"Expected depth times blocks to be at most {MAX_BLOCKS} for all levels together; "
                f"got {deep} times {blocks}."
            )

    def to_dict(self) -> dict[str, Any]:
        """A dictionary of plain values, as JSON holds them."""
        out: dict[str, Any] = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in _BASES:
            if out[name] is not None:
                out[name] = tagged(out[name], KINDS[name])
        if isinstance(self.map, OwnMap):
            out["map"] = {"kind": self.map.path, "depth": self.map.depth, **self.map.own}
        return out

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """The inverse of `to_dict`; also takes what earlier versions wrote.

        Raises:
            ValueError: If a key, a kind or an option isn't known; it names those that are.
        """
        check_type("the flow's config", values, dict, "names and values")
        assert isinstance(values, dict)
        found = dict(migrated(values))
        for key in found:
            check_name("a key of the flow's config", key, [one.name for one in fields(cls)])
        for name, base in _BASES.items():
            one = found.get(name)
            if name == "map" and isinstance(one, dict) and "." in str(one.get("kind")):
                own = {key: x for key, x in one.items() if key not in ("kind", "depth")}
                found[name] = OwnMap(path=one["kind"], depth=one.get("depth", 4), own=own)
            elif name in found and not (name == "pixels" and one is None):
                found[name] = from_tagged(name, one, KINDS[name], base)
        return cls(**found)


KINDS: dict[str, dict[str, type[Any]]] = {
    "geometry": GEOMETRIES,
    "map": MAPS,
    "prior": PRIORS,
    "pixels": PIXELS,
}
"""The parts of a config that are of a kind, with the kinds that there are."""
_BASES: dict[str, type] = {"geometry": Geometry, "map": Map, "prior": PriorKind, "pixels": Pixels}


def options_of(kind: type) -> list[str]:
    """The names of the options of a kind.

    >>> options_of(LaplacePrior)
    ['scale']
    """
    return [one.name for one in fields(kind) if one.init]


def migrated(values: dict[str, Any], *, partial: bool = False) -> dict[str, Any]:
    """A flow's config as this version has it, from what any version wrote.

    Versions before kinds had one flat list of fields, in which options of other kinds stood too.

    Args:
        values: The config.
        partial: Whether they are changes to another config, whose kinds aren't known here.

    Example:
        >>> migrated({"bijector": "affine", "m": 2, "prior": "gaussian", "prior_scale": 2.0})
        {'geometry': {'kind': 'blocks', 'm': 2}, 'map': {'kind': 'affine'}, \
'prior': {'kind': 'gaussian', 'scale': 2.0}}
        >>> migrated({"hidden": 32, "map": "cube"}, partial=True)
        {'map': {'kind': 'cube', 'hidden': 32}}
    """
    values = _without_removed(values)
    words = {name: values[name] for name in _BASES if isinstance(values.get(name), str)}
    nested = words.keys() & {"geometry", "map"} or any(
        isinstance(values.get(name), dict) for name in _BASES
    )
    flat = {name: x for name, x in values.items() if name in _FORMER and (partial or not nested)}
    flat |= words
    if not flat:
        return values
    out = {name: value for name, value in values.items() if name not in flat}
    parts: dict[str, dict[str, Any]] = {name: {} for name in _BASES}
    for name, value in flat.items():
        where, _, key = _FORMER.get(name, f"{name}.kind").partition(".")
        parts[where][key] = value
    if parts["geometry"].pop("architecture", "rg") == "real_nvp":
        parts["geometry"], parts["map"]["kind"] = {"kind": "squeeze"}, "convolutional"
        parts["map"].pop("depth", None)
    own = parts["map"].pop("options", {})
    check_type("bijector_options", own, dict, "a dictionary")
    for name, part in parts.items():
        if not part or (name == "pixels" and values.get("pixels", "") is None):
            continue
        if not partial or "kind" in part:
            kind = part.pop("kind", _USUAL[name])
            known = KINDS[name].get(kind) if isinstance(kind, str) else None
            if name == "map" and "." in str(kind):
                part = {k: x for k, x in part.items() if k == "depth"} | own
            elif known is not None:
                part = {k: x for k, x in part.items() if k in options_of(known)}
            part = {"kind": kind} | part
        out[name] = part | out.get(name, {})
    return out


_FORMER = {
    "architecture": "geometry.architecture",
    **{name: f"geometry.{name}" for name in ("m", "boundary", "order", "disentanglers")},
    "bijector": "map.kind",
    "bijector_options": "map.options",
    **{
        name: f"map.{name}"
        for name in (
            "depth", "hidden", "blocks", "conditioner", "bins", "components", "splits", "stem",
        )
    },
    "prior_scale": "prior.scale",
    "prior_df": "prior.df",
}  # fmt: skip
"""Where the fields of earlier versions are now."""
_REMOVED = {"channel_mixing": False, "dequantization": "uniform"}
"""Options of earlier versions that are gone, with the value that means what is done now."""


def _without_removed(values: dict[str, Any]) -> dict[str, Any]:
    """A flow's config, or a part of it, without options that earlier versions had.

    Raises:
        ValueError: If one has another value than that which means what is done now.
    """
    left = {}
    for name, value in values.items():
        if name in _REMOVED:
            if value != _REMOVED[name]:
                raise ValueError(
                    f"Expected {name} to be {_REMOVED[name]}, as it isn't an option any more; got "
                    f"{short(value)}: leave it out, or use the version that made this config."
                )
        elif name in ("map", "pixels") and isinstance(value, dict):
            own = "." in str(value.get("kind"))
            left[name] = value if own else _without_removed(value)
        else:
            left[name] = value
    return left


_USUAL = {"geometry": "blocks", "map": "affine", "prior": "laplace", "pixels": "logit"}


def changed(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A flow's config, as a dictionary, with changes, which any version may have written.
    Of a part that becomes of another kind, the options stay that the new kind has too.

    Example:
        >>> changed(FlowConfig().to_dict(), {"map": {"kind": "cube", "bins": 4}})["map"]
        {'kind': 'cube', 'depth': 4, 'hidden': 512, 'blocks': 4, 'conditioner': 'paper', 'bins': 4}
    """
    out = dict(values)
    for name, value in migrated(changes, partial=True).items():
        before = out.get(name)
        if name in _BASES and isinstance(value, dict) and "kind" not in (before or {}):
            value = {**(before or {}), **value}
        elif name in _BASES and isinstance(value, dict) and isinstance(before, dict):
            kind = value.get("kind", before["kind"])
            known = KINDS[name].get(kind) if isinstance(kind, str) else None
            if kind != before["kind"]:
                has = options_of(known) if known else ["depth"]
                before = {key: x for key, x in before.items() if key in has}
            value = {"kind": kind} | {k: x for k, x in before.items() if k != "kind"} | value
        out[name] = value
    return out


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run: the flow, its data, and how it is optimised (paper, Appendix A)."""

    model: FlowConfig = field(default_factory=FlowConfig)
    """The flow to train."""
    pretrained: str | None = None
    """Start from the weights of this model: a run folder, a model folder, or the name of an
    included model. The flow must be the same. None: new weights."""
    train_levels: tuple[int, ...] | None = None
    """Levels whose weights are trained; the others keep their initial weights. None: all."""
    objective: Objective = field(default_factory=MaximumLikelihood)
    """What a step minimises: likelihood, or a class of your own by its import path."""
    data: str = "msds1"
    """Data set: msds1, msds2, patches (of photographs), patches:NAME (tested on the photograph
    NAME), wallpapers, cifar10, mnist, celeba, chairs, folder:PATH for a tree of pictures, npz:PATH,
    fields:PATH for real-valued fields, hf:NAME_OR_PATH (Hugging Face datasets), stream:PATH (random
    crops of the pictures in Parquet or WebDataset shards, read in a stream without a cache),
    rolled:NAME (each image of NAME shifted by 0 to 7 pixels in both directions, on the torus), or
    none if the objective needs no data."""
    data_root: str | None = None
    """Folder with the official files of cifar10, mnist, celeba or chairs."""
    download: bool = False
    """Whether missing files may be downloaded."""
    crop: int | None = None
    """Crop each picture to its central crop × crop pixels before it is resized (CelebA: 148)."""
    train_count: int | None = None
    """Number of training images; none: all there are (90,000 for MSDS)."""
    fresh: bool = False
    """Draw new images for every step instead of reusing a fixed training set; only for msds1 and
    msds2, whose images are generated."""
    minutes: float | None = None
    """Budget of training time in minutes, validation included."""
    clock: Literal["wall", "processor"] = "wall"
    """Clock for minutes and seconds: wall-clock time, or the processor time of this process, summed
    over its threads, which is fair on a busy machine."""
    steps: int | None = None
    """Budget of optimiser steps; the run ends when minutes or steps are used up."""
    batch_size: int = 64
    """Images per step, over all processes together."""
    accumulate: int = 1
    """Number of parts into which each process splits its share of a batch, processed one after
    another: less memory for the same gradient."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw, or muon, which takes orthogonalised steps for the matrices that lead to hidden layers,
    and AdamW steps for everything else."""
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    muon_lr: float = 0.02
    """Peak learning rate of Muon; it follows the same schedule."""
    weight_decay: float = 5e-5
    """Weight decay of AdamW."""
    muon_decay: float = 0.02
    """Weight decay of Muon: weights shrink by this times the learning rate in every step, so no
    singular value exceeds its inverse."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's two moments."""
    warmup: int = 50
    """Steps over which the learning rate rises from 0."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after the warm-up: constant, or a cosine down to 0 at the end of the budget."""
    max_grad_norm: float = 1.0
    """Largest global norm of the gradient of the loss per dimension (in nats)."""
    ema_decay: float = 0.99
    """Decay per step of the moving average of the weights, which is validated and saved; 0: none.
    After n steps it is at most (1 + n)/(10 + n)."""
    compile: bool | None = None
    """Compile maps of the unit cube, and coarse_to_fine's networks; none: if there is a C++
    compiler. This takes tens of seconds, which don't count as training time."""
    flip: bool = False
    """Mirror each training image with probability 1/2."""
    shuffle_channels: bool = False
    """Permute the channels of each training image at random. If all orders are equally likely, as
    in msds1 and msds2, this gives six images for each one."""
    dtype: Literal["float32", "float64"] = "float32"
    """Number format of parameters and images; float64 is for checking."""
    validate_every: float = 60.0
    """Seconds between two validations, each with a sample grid and a checkpoint."""
    validate_count: int = 500
    """Number of validation images."""
    keep: int = 2
    """Number of checkpoints to keep, the newest ones; the best model is kept as well."""
    tensorboard: bool = False
    """Whether to write TensorBoard files as well."""
    seed: int = 0
    """Seed of weights, data order and dequantisation."""

    def __post_init__(self) -> None:
        own_fields(self)
        for name in ("batch_size", "validate_count", "accumulate", "keep"):
            check_whole(name, getattr(self, name), 1)
        for name in ("warmup", "seed"):
            check_whole(name, getattr(self, name), 0)
        for name in ("steps", "train_count", "crop"):
            if getattr(self, name) is not None:
                check_whole(name, getattr(self, name), 1)
        rates = ("lr", "muon_lr", "weight_decay", "muon_decay")
        for name in (*rates, "max_grad_norm", "validate_every"):
            check_at_least(name, getattr(self, name), 0)
        if not isinstance(self.betas, list | tuple) or len(self.betas) != 2:
            raise ValueError(f"Expected betas to be two numbers; got {short(self.betas)}.")
        object.__setattr__(self, "betas", tuple(self.betas))
        for name, value in (("ema_decay", self.ema_decay), *(("betas", b) for b in self.betas)):
            check_at_least(name, value, 0)
            if value >= 1:
                raise ValueError(f"Expected {name} to be below 1; got {value}.")
        check_name("schedule", self.schedule, ("constant", "cosine"))
        check_name("optimizer", self.optimizer, ("adamw", "muon"))
        if self.optimizer == "muon" and isinstance(self.model.map, ConvolutionalMap):
            raise ValueError(
                "Expected optimizer adamw for the map convolutional, whose layers are "
                "convolutions; got muon, which is for matrices."
            )
        check_name("clock", self.clock, ("wall", "processor"))
        check_name("dtype", self.dtype, ("float32", "float64"))
        check_type("objective", self.objective, Objective, "an Objective")
        check_type("data", self.data, str, "a name")
        if self.data == "none" and self.model.labels:
            raise ValueError(
                "Expected a flow without labels if there is no data set; got one with labels: set "
                "model.labels to 0."
            )
        unknown = isinstance(self.objective, UnknownObjective)
        if not unknown and self.objective.needs_data == (self.data == "none"):
            kind = tagged(self.objective, OBJECTIVES)["kind"]
            needs = "a data set" if self.objective.needs_data else "data none"
            raise ValueError(
                f"Expected {needs} for the objective {kind}; got data {short(self.data)}."
            )
        if self.pretrained is not None:
            check_type("pretrained", self.pretrained, str, "the name or folder of a model")
            if not self.pretrained:
                raise ValueError("Expected a model in pretrained, or null for new weights; got ''.")
        if self.train_levels is not None:
            check_type("train_levels", self.train_levels, (list, tuple), "a list of levels")
            for level in self.train_levels:
                check_whole("a level of train_levels", level, 0)
            if not self.train_levels:
                raise ValueError("Expected levels in train_levels, or null for all; got none.")
            object.__setattr__(self, "train_levels", tuple(sorted(set(self.train_levels))))
        if self.data_root is not None:
            check_type("data_root", self.data_root, str, "a folder")
        for name in ("download", "flip", "shuffle_channels", "tensorboard", "fresh"):
            check_type(name, getattr(self, name), bool, "true or false")
        if self.fresh and self.data not in ("msds1", "msds2"):
            raise ValueError(
                f"Expected fresh only with data msds1 or msds2, of which any number can be drawn; "
                f"got {short(self.data)}: leave it out."
            )
        if self.compile is not None:
            check_type("compile", self.compile, bool, "true, false or null")
        if self.minutes is not None:
            check_at_least("minutes", self.minutes, 0)
            if not self.minutes:
                raise ValueError("Expected minutes to be positive; got 0.")

    def to_dict(self) -> dict[str, Any]:
        """A dictionary of plain values, as JSON holds them."""
        return {one.name: getattr(self, one.name) for one in fields(self)} | {
            "model": self.model.to_dict(),
            "objective": self.objective.to_dict()
            if isinstance(self.objective, UnknownObjective)
            else tagged(self.objective, OBJECTIVES),
        }

    @classmethod
    def from_dict(cls, values: object) -> Self:
        """The inverse of `to_dict`, also of what earlier versions wrote; an unknown key is a
        `ValueError` that names the nearest."""
        check_type("the settings", values, dict, "names and values")
        assert isinstance(values, dict)
        found = {FORMER.get(str(key), str(key)): value for key, value in values.items()}
        for key in found:
            check_name("a key of the settings", key, [f.name for f in fields(cls)])
        if (objective := found.get("objective")) is not None:
            if isinstance(objective, str):
                objective = {"kind": objective}
            own = isinstance(objective, dict) and "." in str(objective.get("kind"))
            if own and str(objective["kind"]).rpartition(".")[0] not in sys.modules:
                options = {name: x for name, x in objective.items() if name != "kind"}
                objective = UnknownObjective(path=objective["kind"], own=options)
            found["objective"] = from_tagged(
                "objective",
                objective,
                OBJECTIVES,
                Objective,  # type: ignore[type-abstract]
            )
        return cls(**{**found, "model": FlowConfig.from_dict(found.get("model", {}))})

    def changed(self, settings: dict[str, Any]) -> Self:
        """With some settings changed, those of the flow, under `model`, as `changed` does. Options
        of the objective, and of its action, stay where they have the same kind as before."""
        mine = self.to_dict()
        parts: dict[str, Any] = {"model": changed(mine["model"], settings.get("model", {}))}
        if (objective := settings.get("objective")) is not None:
            parts["objective"] = merged(mine["objective"], objective, OBJECTIVES)
        return type(self).from_dict(mine | settings | parts)


FORMER = {"clip": "max_grad_norm", "average": "ema_decay"}
"""Settings that had another name in earlier versions."""
