"""What a training run is made of."""

from dataclasses import field, replace
from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Lt, MinLen
from pydantic import AfterValidator

from rgflow.checks import short
from rgflow.config.earlier import training_of_earlier
from rgflow.config.flow import FlowConfig
from rgflow.kinds import Config, config
from rgflow.objectives import MaximumLikelihood, Objective

Positive = Annotated[int, Ge(1)]
NotNegative = Annotated[int, Ge(0)]
Rate = Annotated[float, Ge(0)]
Decay = Annotated[float, Ge(0), Lt(1)]
IN_ORDER = AfterValidator(lambda levels: tuple(sorted(set(levels))))


@config
class TrainConfig(Config):
    """One training run: the flow, its data, and how it is optimised (paper, Appendix A)."""

    called = "the training"

    model: FlowConfig = field(default_factory=FlowConfig)
    """The flow to train."""
    pretrained: Annotated[str | None, MinLen(1)] = None
    """Start from the weights of this model: a run folder, a model folder, or the name of an
    included model. The flow must be the same. None: new weights."""
    train_levels: Annotated[tuple[NotNegative, ...], MinLen(1), IN_ORDER] | None = None
    """Levels whose weights are trained; the others keep their initial weights. None: all."""
    objective: Objective = field(default_factory=MaximumLikelihood)
    """What a step minimises: likelihood, or a class of your own by its import path. An action that
    draws the last half exactly (`rgflow.geometries.Windows`) is always that of the objective."""
    data: str = "msds1"
    """Data set: msds1, msds2, patches (of photographs), patches:NAME (tested on the photograph
    NAME), wallpapers, cifar10, celeba, chairs, folder:PATH for a tree of pictures (flows of
    photographs learn patches of them), npz:PATH,
    fields:PATH for real-valued fields, hf:NAME_OR_PATH (Hugging Face datasets), stream:PATH (random
    crops of the pictures in Parquet or WebDataset shards, read in a stream without a cache), one of
    your own by its import path, or none if the objective needs no data."""
    data_root: str | None = None
    """Folder with the official files of cifar10, celeba or chairs."""
    download: bool = False
    """Whether hf:NAME may be downloaded."""
    crop: Annotated[int | None, Ge(1)] = None
    """Crop each picture to its central crop × crop pixels before it is resized (CelebA: 148)."""
    train_count: Annotated[int | None, Ge(1)] = None
    """Number of training images; none: all there are (90,000 for MSDS)."""
    fresh: bool = False
    """Draw new images for every step instead of reusing a fixed training set; only for msds1 and
    msds2, whose images are generated."""
    minutes: Annotated[float | None, Gt(0)] = None
    """Budget of training time in minutes, validation included."""
    clock: Literal["wall", "processor"] = "wall"
    """Clock for minutes and seconds: wall-clock time, or the processor time of this process, summed
    over its threads, which is fair on a busy machine."""
    steps: Annotated[int | None, Ge(1)] = None
    """Budget of optimiser steps; the run ends when minutes or steps are used up."""
    batch_size: Positive = 64
    """Images per step, over all processes together."""
    accumulate: Positive = 1
    """Number of parts into which each process splits its share of a batch, processed one after
    another: less memory for the same gradient."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """adamw, or muon, which takes orthogonalised steps for the matrices that lead to hidden layers,
    and AdamW steps for everything else."""
    lr: Rate = 1e-3
    """Peak learning rate of AdamW."""
    muon_lr: Rate = 0.02
    """Peak learning rate of Muon; it follows the same schedule."""
    weight_decay: Rate = 5e-5
    """Weight decay of AdamW."""
    muon_decay: Rate = 0.02
    """Weight decay of Muon: weights shrink by this times the learning rate in every step, so no
    singular value exceeds its inverse."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay rates of AdamW's two moments."""
    warmup: NotNegative = 50
    """Steps over which the learning rate rises from 0."""
    schedule: Literal["constant", "cosine"] = "constant"
    """Learning rate after the warm-up: constant, or a cosine down to 0 at the end of the budget."""
    max_grad_norm: Rate = 1.0
    """Largest global norm of the gradient of the loss per dimension (in nats)."""
    ema_decay: Decay = 0.99
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
    validate_every: Rate = 60.0
    """Seconds between two validations, each with a sample grid and a checkpoint."""
    validate_count: Positive = 500
    """Number of validation images."""
    patience: Positive | None = None
    """Number of validations in a row without a new best after which the run ends; none: the budget
    is used up."""
    keep: Positive = 2
    """Number of checkpoints to keep, the newest ones; the best model is kept as well."""
    seed: NotNegative = 0
    """Seed of weights, data order and dequantisation."""

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The inverse of `to_dict`; also takes what earlier versions wrote.

        Raises:
            ValueError: If a name isn't known or a value isn't possible; it says what is.
        """
        return super().from_dict(training_of_earlier(values))

    def changed(self, changes: Any) -> Self:
        """As of any config. Where the action of spins gets other states, so do the map and the
        action that draws the last half."""
        given = changes.get("objective") if isinstance(changes, dict) else None
        if isinstance(given, dict | str) and self.model.map.states:
            objective = self.objective.changed(given)
            action, geometry = getattr(objective, "action", None), self.model.geometry
            if action is not None and action.states not in ((), self.model.map.states):
                model: dict[str, Any] = {"map": {"spins": action.states}}
                if getattr(geometry, "exact", None) is not None:
                    model["geometry"] = {"exact": action}
                rest = {name: x for name, x in changes.items() if name != "objective"}
                base = replace(self, model=self.model.changed(model), objective=objective)
                return base.changed(rest)
        return super().changed(changes)

    def __post_init__(self) -> None:
        action, model = getattr(self.objective, "action", None), self.model
        if action is not None and getattr(model.geometry, "exact", None) not in (None, action):
            geometry = model.geometry.changed({"exact": action})
            object.__setattr__(self, "model", replace(model, geometry=geometry))
        self.objective.check_states(model.map.states)
        if self.optimizer == "muon" and not self.model.map.has_matrices:
            raise ValueError(
                f"Expected optimizer adamw for the map {self.model.map.kind}, whose layers are "
                f"convolutions; got muon, which is for matrices."
            )
        if self.data == "none" and self.model.labels:
            raise ValueError(
                "Expected a flow without labels if there is no data set; got one with labels: set "
                "model.labels to 0."
            )
        if self.objective.needs_data not in (None, self.data != "none"):
            needs = "a data set" if self.objective.needs_data else "data none"
            raise ValueError(
                f"Expected {needs} for {self.objective.called}; got data {short(self.data)}."
            )
        if self.fresh and self.data not in ("msds1", "msds2"):
            raise ValueError(
                f"Expected fresh only with data msds1 or msds2, of which any number can be drawn; "
                f"got {short(self.data)}: leave it out."
            )
