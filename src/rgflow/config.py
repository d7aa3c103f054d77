"""What a flow and a run are made of, as plain data.

Everything here is a frozen, keyword-only dataclass that imports no torch, so that a command line
can parse, print and check it in milliseconds. The modules that do the work take these objects.
"""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

from rgflow.checks import (
    MAX_BINS,
    MAX_BLOCKS,
    MAX_LEVELS,
    MAX_SIZE,
    Boundary,
    Option,
    check_at_least,
    check_name,
    check_type,
    check_whole,
    own_fields,
    short,
)
from rgflow.geometries.blocks import Order

Architecture = Literal["rg", "real_nvp"]
PriorName = Literal["laplace", "gaussian", "student"]
PixelsName = Literal["logit", "marginal"]
Dequantization = Literal["uniform", "variational"]
ComputeDtype = Literal["float32", "bfloat16", "auto"]


def listed(value: int | tuple[int, ...]) -> str:
    """One number for all levels, or one for each, as words.

    >>> listed((8, 4))
    '8, 4'
    """
    return ", ".join(map(str, value if isinstance(value, tuple) else (value,)))


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """The architecture of one flow (paper, section 3.2 and Appendix A).

    Real NVP takes height, width, channels, levels (scales), hidden (feature maps of the first
    scale), blocks, prior, pixels, dequantization, checkpointing and compute_dtype; the rest is for
    RG-Flow.

    Example:
        >>> config = FlowConfig(height=32, width=32, depth=(8, 6, 4, 2))
        >>> config.prior, config.m
        ('laplace', 4)
    """

    architecture: Architecture = "rg"
    """rg (RG-Flow), or real_nvp (the baseline of Dinh et al. 2017)."""
    height: int = 32
    """Rows of pixels H; a level's grid, of H/2^h rows, is cut into its blocks."""
    width: int = 32
    """Columns of pixels W, likewise."""
    channels: int = 3
    """Channels C; they stay the same at all levels."""
    m: int | tuple[int, ...] = 4
    """Edge of the blocks that a bijector sees: even; one number, or one per level, level 0 first,
    of which the last holds for all further levels."""
    levels: int | None = None
    """Number of levels; none: as many as the size allows (log2(L/m) + 1 for a square of 2^k)."""
    depth: int | tuple[int, ...] = 4
    """Bijectors in each disentangler and decimator: one number, or one per level, level 0 first."""
    boundary: Boundary = "periodic"
    """Whether blocks wrap around the edges, or those that would are left out."""
    order: Order = "paper"
    """Shifted disentanglers first (paper), or the released code's order: shifted decimators."""
    disentanglers: bool = True
    """Whether every level has a disentangler before its decimator; without, the network is a tree,
    whose blocks never overlap."""
    shared: bool = False
    """One set of weights for all levels (scale-invariant); needs equal depths."""
    bijector: str = "affine"
    """affine, spline, mixture, autoregressive, cube, coarse_to_fine, or the import path of a
    Bijector subclass, whose module must have been imported already, or be trusted."""
    bijector_options: dict[str, Option | list[Option]] = field(default_factory=dict)
    """Keyword arguments for a bijector that is named by its import path: numbers, words, true,
    false, null, or lists of these."""
    channel_mixing: bool = False
    """Whether a rotation mixes the channels of every site before each bijector, which then acts on
    real numbers."""
    conditioner: str = "paper"
    """paper (separate networks for s and t), released (the released code's), or trunk (one
    network for all parameters)."""
    hidden: int | tuple[int, ...] = 512
    """Width of the hidden layers: one number, or one per level as for m."""
    blocks: int = 4
    """Residual blocks in each network."""
    bins: int = 8
    """Bins of each spline; for the autoregressive bijector 0 makes it affine."""
    components: int = 3
    """Logistic distributions in each mixture of the mixture and coarse_to_fine bijectors."""
    splits: int = 2
    """How often the coarse_to_fine bijector divides a block's sites into four sublattices, or as
    often as its edge allows: its variables form C·4^splits groups, and generation takes as many
    steps."""
    stem: int = 0
    """Width of the networks that the coarse_to_fine bijector's groups share, one for every quarter
    of a block but the first, in front of their own; 0: there are none."""
    position_embedding: int = 0
    """Size of a learned embedding of the position of every block, which the networks of couplings
    and of coarse_to_fine see, and your own bijectors if they have a method `at`; 0: none are told
    where a block is."""
    labels: int = 0
    """Number of classes whose label is given with every image; 0: there are no labels."""
    label_embedding: int = 16
    """Size of a learned embedding of the label, which the maps see."""
    prior: PriorName = "laplace"
    """Distribution of every latent."""
    prior_scale: float | None = None
    """Scale of the prior (b, σ or s); none: unit variance."""
    prior_df: float = 5.0
    """Degrees of freedom of the Student-t prior."""
    pixels: PixelsName | None = "logit"
    """From pixels to the flow's own space: logit, marginal (the distribution function of each
    channel, then the prior's quantile), or none for real-valued fields."""
    dequantization: Dequantization = "uniform"
    """Noise that makes 8-bit pixels real numbers: uniform, or learned, pixel by pixel
    (variational)."""
    checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, more time."""
    compute_dtype: ComputeDtype = "float32"
    """Number format of the networks while training; auto: bfloat16 where a timed product says that
    it pays. Everything outside training runs in the format of the parameters."""

    def __post_init__(self) -> None:
        own_fields(self)
        sizes = ("height", "width", "channels", "blocks", "components", "splits")
        for name in sizes:
            check_whole(name, getattr(self, name), 1, MAX_SIZE)
        check_whole("stem", self.stem, 0, MAX_SIZE)
        check_whole("labels", self.labels, 0, MAX_SIZE)
        check_whole("label_embedding", self.label_embedding, 1, MAX_SIZE)
        check_whole("position_embedding", self.position_embedding, 0, MAX_SIZE)
        check_whole("bins", self.bins, 0 if self.bijector == "autoregressive" else 2, MAX_BINS)
        if self.levels is not None:
            check_whole("levels", self.levels, 1, MAX_LEVELS)
        for name, known in (
            ("architecture", Architecture),
            ("boundary", Boundary),
            ("order", Order),
            ("prior", PriorName),
            ("dequantization", Dequantization),
            ("compute_dtype", ComputeDtype),
        ):
            check_name(name, getattr(self, name), get_args(known))
        if self.pixels is not None:
            check_name("pixels", self.pixels, get_args(PixelsName))
        elif self.dequantization == "variational":
            raise ValueError(
                "Expected dequantization uniform for fields, which are real numbers already; got "
                "variational, which is for pixels."
            )
        for name in ("bijector", "conditioner"):
            check_type(name, getattr(self, name), str, "a name")
        for name in ("disentanglers", "shared", "channel_mixing", "checkpointing"):
            check_type(name, getattr(self, name), bool, "true or false")
        check_type("bijector_options", self.bijector_options, dict, "a dictionary")
        for name, value in self.bijector_options.items():
            for one in value if isinstance(value, list) else [value]:
                kinds = "a number, a word, true, false, null, or a list of these"
                check_type(f"the bijector's option {name!s:.60}", one, get_args(Option), kinds)
        if self.bijector_options and "." not in self.bijector:
            raise ValueError(
                f"Expected bijector_options only for a bijector named by its import path; got "
                f"{short(self.bijector_options)} for {self.bijector}."
            )
        if self.channel_mixing and self.bijector in ("cube", "coarse_to_fine"):
            raise ValueError(
                f"Expected channel_mixing only for bijectors of real numbers; {self.bijector} acts "
                f"on the unit cube: use affine, spline, mixture or autoregressive, or no "
                f"channel_mixing."
            )
        if self.position_embedding and (
            self.bijector == "autoregressive" or self.architecture == "real_nvp"
        ):
            one = self.bijector if self.architecture == "rg" else self.architecture
            raise ValueError(
                f"Expected position_embedding only for affine, spline, mixture, cube and "
                f"coarse_to_fine of an RG-Flow; got {self.position_embedding} for {one}: leave it "
                f"out."
            )
        check_at_least("prior_df", self.prior_df, 0)
        if self.prior_scale is not None:
            check_at_least("prior_scale", self.prior_scale, 0)
            if not 0 < self.prior_scale < float("inf"):
                raise ValueError(f"Expected a positive prior_scale; got {self.prior_scale}.")
        for name in ("m", "depth", "hidden"):
            value = getattr(self, name)
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))
            if isinstance(value, list | tuple) and not 0 < len(value) <= MAX_LEVELS:
                raise ValueError(
                    f"Expected {name} to be a number, or one per level; got {len(value) or 'none'}."
                )
            for one in value if isinstance(value, list | tuple) else (value,):
                check_whole(name, one, 1, MAX_SIZE)
            if self.shared and isinstance(value, list | tuple) and len(set(value)) > 1:
                raise ValueError(
                    f"Expected the same {name} at all levels, as weights are shared; got "
                    f"{short(value)}: use {name}={value[0]}, or shared=False."
                )

        levels = self.levels or min(self.height, self.width).bit_length()
        deep = sum(self.depth) if isinstance(self.depth, tuple) else self.depth * levels
        if deep * self.blocks > MAX_BLOCKS:
            raise ValueError(
                f"Expected depth times blocks to be at most {MAX_BLOCKS} for all levels together; "
                f"got {deep} times {self.blocks}."
            )
        if self.architecture == "real_nvp" and not isinstance(self.hidden, int):
            raise ValueError(
                f"Expected one number for hidden, as the scales of a Real NVP double it by "
                f"themselves; got {self.hidden}."
            )

    def widths(self, levels: int) -> tuple[int, ...]:
        """Width of the hidden layers of every level, level 0 first; a `ValueError` if there are too
        many.

        Example:
            >>> FlowConfig(hidden=(32, 96)).widths(3)
            (32, 96, 96)
        """
        widths = self.hidden if isinstance(self.hidden, tuple) else (self.hidden,)
        if len(widths) > levels:
            raise ValueError(
                f"Expected one hidden, or at most one for each of the {levels} levels; "
                f"got {len(widths)}: {widths}."
            )
        return widths + widths[-1:] * (levels - len(widths))

    def depths(self, levels: int) -> tuple[int, ...]:
        """Depth of every level, level 0 first; a `ValueError` if there are too few or too many."""
        depths = self.depth if isinstance(self.depth, tuple) else (self.depth,) * levels
        if len(depths) != levels:
            raise ValueError(
                f"Expected one depth, or one for each of the {levels} levels; "
                f"got {len(depths)}: {depths}."
            )
        return depths

    def to_dict(self) -> dict[str, Any]:
        """A dictionary of plain values, as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; an unknown key is a `ValueError` that names the nearest."""
        check_type("the flow's config", values, dict, "names and values")
        for key in values:
            check_name("a key of the flow's config", key, [f.name for f in fields(cls)])
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """One training run: the flow, its data, and how it is optimised (paper, Appendix A)."""

    model: FlowConfig = field(default_factory=FlowConfig)
    """The flow to train."""
    pretrained: str | None = None
    """Begin with the weights of this model, whose flow it then has to be: a run folder, that of a
    model, or the name of a model of the package; none: with new weights."""
    train_levels: tuple[int, ...] | None = None
    """Levels whose weights are learned; the others keep those they begin with. None: all."""
    data: str = "msds1"
    """Data set: msds1, msds2, patches (of photographs), patches:NAME (tested on the photograph
    NAME), cifar10, mnist, celeba, chairs, folder:PATH for a tree of pictures, npz:PATH, fields:PATH
    for real-valued fields, or hf:NAME_OR_PATH (Hugging Face datasets)."""
    data_root: str | None = None
    """Folder with the official files of cifar10, mnist, celeba or chairs."""
    download: bool = False
    """Whether files that aren't there may be downloaded."""
    crop: int | None = None
    """Cut the centre crop × crop pixels out of each picture before it is resized (CelebA: 148)."""
    train_count: int | None = None
    """Number of training images; none: all there are (90,000 for MSDS)."""
    fresh: bool = False
    """Draw images that no step has seen before, without an end, instead of using those there are
    again and again; of msds1 and msds2, which are drawn at random in any case."""
    minutes: float | None = None
    """Budget of training time in minutes, validation included."""
    clock: Literal["wall", "processor"] = "wall"
    """What minutes and seconds are of: time that passes, or time that the processors spend on this
    process, all threads together, which is fair on a machine that does other things besides."""
    steps: int | None = None
    """Budget of optimiser steps; what ends first of minutes and steps ends the run."""
    batch_size: int = 64
    """Images per step, over all processes together."""
    accumulate: int = 1
    """Parts into which each process cuts its share of a step's images, one after the other: less
    memory for the same gradient."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw, or muon, which takes steps with orthogonal directions for the matrices that lead to
    hidden layers, and AdamW for all else."""
    lr: float = 1e-3
    """Peak learning rate of AdamW."""
    muon_lr: float = 0.02
    """Peak learning rate of Muon; it follows the same schedule."""
    weight_decay: float = 5e-5
    """Weight decay of AdamW."""
    muon_decay: float = 0.02
    """Weight decay of Muon: weights shrink by this times the learning rate in every step, so no
    singular value grows above its inverse."""
    betas: tuple[float, float] = (0.9, 0.999)
    """Decay rates of AdamW's two moments."""
    warmup: int = 50
    """Steps over which the learning rate rises from 0."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after the warm-up: constant, or a cosine down to 0 at the end of the budget."""
    clip: float = 1.0
    """Largest global norm of the gradient of the loss per dimension (in nats)."""
    average: float = 0.99
    """Decay per step of the moving average of the weights, which is evaluated and kept; 0: none.
    It is less at the beginning: (1 + n)/(10 + n) after n steps."""
    compile: bool | None = None
    """Compile maps of the unit cube, and coarse_to_fine's networks; none: where there is
    a C++ compiler. It takes some tens of seconds, which aren't counted as training time."""
    flip: bool = False
    """Mirror every other training image, at random."""
    shuffle_channels: bool = False
    """Give the channels of every training image a random order; of sets in which all orders are
    equally likely, such as msds1 and msds2, it makes six images out of one."""
    dtype: Literal["float32", "float64"] = "float32"
    """Number format of parameters and images; float64 is for checking."""
    validate_every: float = 60.0
    """Seconds between two validations, each with a sample grid and a checkpoint."""
    validate_count: int = 500
    """Number of validation images."""
    keep: int = 2
    """Number of checkpoints that are kept, the newest; the best model is kept besides."""
    tensorboard: bool = False
    """Whether to write TensorBoard's files too."""
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
        for name in ("lr", "muon_lr", "weight_decay", "muon_decay", "clip", "validate_every"):
            check_at_least(name, getattr(self, name), 0)
        if not isinstance(self.betas, list | tuple) or len(self.betas) != 2:
            raise ValueError(f"Expected betas to be two numbers; got {short(self.betas)}.")
        object.__setattr__(self, "betas", tuple(self.betas))
        for name, value in (("average", self.average), *(("betas", b) for b in self.betas)):
            check_at_least(name, value, 0)
            if value >= 1:
                raise ValueError(f"Expected {name} to be below 1; got {value}.")
        check_name("schedule", self.schedule, ("constant", "cosine"))
        check_name("optimizer", self.optimizer, ("adamw", "muon"))
        if self.optimizer == "muon" and self.model.architecture == "real_nvp":
            raise ValueError(
                "Expected optimizer adamw for the architecture real_nvp, whose layers are "
                "convolutions; got muon, which is for matrices."
            )
        check_name("clock", self.clock, ("wall", "processor"))
        check_name("dtype", self.dtype, ("float32", "float64"))
        check_type("data", self.data, str, "a name")
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

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`; an unknown key is a `ValueError` that names the
        nearest."""
        check_type("the settings", values, dict, "names and values")
        for key in values:
            check_name("a key of the settings", key, [f.name for f in fields(cls)])
        return cls(**{**values, "model": FlowConfig.from_dict(values.get("model", {}))})
