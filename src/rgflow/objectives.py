"""What a step of training minimises: an `Objective`, chosen in the settings of a run.

Like the settings themselves, this module imports no torch.
"""

import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Protocol

from annotated_types import Ge, Le

from rgflow.actions import Action, FreeField, evaluated, is_even
from rgflow.checks import short
from rgflow.kinds import Kind, Named, config, imported_class

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class Density(Protocol):
    """What an objective uses of a flow: all that `rgflow.flow.Flow` shares with densities of your
    own."""

    @property
    def config(self) -> Any:
        """The architecture (`rgflow.config.FlowConfig`)."""
        ...

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        ...

    @property
    def dim(self) -> int:
        """C·H·W."""
        ...

    @property
    def device(self) -> "torch.device":
        """The device of the parameters."""
        ...

    @property
    def dtype(self) -> "torch.dtype":
        """The number format of the parameters."""
        ...

    def maps(self) -> Iterator[Any]:
        """All bijectors (`rgflow.bijectors.Bijector`)."""
        ...

    def log_prob(self, images: "Tensor", *, labels: "Tensor | None" = None) -> "Tensor":
        """Log-densities [N] of images or fields [N, C, H, W], with labels if there are any."""
        ...

    def sample_and_log_prob(
        self, n: int, generator: "torch.Generator | None" = None
    ) -> "tuple[Tensor, Tensor]":
        """Samples [n, C, H, W] and their log-densities [n]."""
        ...


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What one training step, or a part of it, learns from.

    Attributes:
        size: Number of images n, or of samples to draw.
        images: Reals in [0, 256), or fields, [n, C, H, W]; none: the objective needs none.
        labels: Labels of the images, if the flow has labels, [n], or [n, K] of several.
        generator: Source of randomness, which depends on the run's seed and the step alone.
        progress: Share of the training's budget that is used, 0 to 1.
    """

    size: int
    images: "Tensor | None" = None
    labels: "Tensor | None" = None
    generator: "torch.Generator | None" = None
    progress: float = 1.0

    def split(self, parts: int) -> "list[Batch]":
        """Parts of about the same size, at most one for each image."""
        parts = min(parts, self.size)
        sizes = [self.size // parts + (k < self.size % parts) for k in range(parts)]
        cut = [None if x is None else x.split(sizes) for x in (self.images, self.labels)]
        return [
            Batch(
                size=size,
                images=cut[0] and cut[0][k],
                labels=cut[1] and cut[1][k],
                generator=self.generator,
                progress=self.progress,
            )
            for k, size in enumerate(sizes)
        ]


@config
class Objective(Kind, ABC, family="objective"):
    """What a step of training minimises. An objective of your own is a subclass, given by its
    import path.

    Training minimises the mean of `losses`. It reports that mean, for training and for validation,
    in the unit of the flow's likelihoods.
    """

    needs_data: ClassVar[bool | None] = True
    """Whether it learns from images; otherwise the run's `data` is none. None: either."""

    @classmethod
    def of_path(cls, path: str, options: dict[str, Any]) -> Any:
        if path.rpartition(".")[0] in sys.modules:
            return super().of_path(path, options)
        return UnknownObjective(path=path, own=options)

    def check_imported(self) -> None:
        """Raise a `ValueError` if it isn't known yet what the objective is."""

    def check_states(self, states: tuple[float, ...]) -> None:
        """Raise a `ValueError` if maps of these states of a site, none being all real numbers,
        can't learn it."""

    def begin(self, flow: "Density") -> None:
        """Set what a new flow takes from the objective before the first step."""

    @abstractmethod
    def losses(self, flow: "Density", batch: Batch) -> "Tensor":
        """What is minimised, for each image or sample of a batch, in nats [n].

        Args:
            flow: The flow whose parameters are learned.
            batch: A batch of the data set; without a data set it has only the number of samples and
                a generator.
        """

    def scores(self, losses: "Tensor") -> dict[str, float]:
        """Further numbers from the losses of a validation [n], to be logged and shown."""
        return {}

    def rank(self, nll: float, scores: dict[str, float]) -> float:
        """What the model that a run keeps has least of, from the validation's mean loss and
        `scores`."""
        return nll

    def energy(self, fields: "Tensor") -> "Tensor":
        """S of the density e^(−S)/Z that is learned, of fields [N, C, H, W], in nats [N].

        `rgflow measure` and `rgflow report` need it; an objective that learns from data has none.

        Raises:
            ValueError: If this objective has none.
        """
        raise ValueError(
            f"Expected an objective with an energy, such as reverse_kl; {type(self).__name__} has "
            f"none: give it a method `energy`, or compare the flow with data by `rgflow evaluate`."
        )

    @property
    def density(self) -> Action:
        """The action of the density that is learned: its own `action`, if it has one."""
        return getattr(self, "action", None) or Energy(objective=self)


@dataclass(frozen=True, kw_only=True)
class Energy(Action):
    """The energy of an objective that has no action of its own."""

    objective: Objective

    def __call__(self, fields: "Tensor") -> "Tensor":
        return self.objective.energy(fields)


@config
class MaximumLikelihood(Objective, kind="likelihood"):
    """−log p(x) of images (paper, eq. 13)."""

    def losses(self, flow: "Density", batch: Batch) -> "Tensor":
        assert batch.images is not None
        return -flow.log_prob(batch.images, labels=batch.labels)


@config
class ReverseKL(Objective, kind="reverse_kl"):
    """KL(q‖p) + −ln Z = E_q[ln q(φ) + S(φ)] of fields drawn from the flow (Li & Wang 2018,
    arXiv:1802.02840), by the reparametrised gradient. It needs no data; −1 times the loss is a
    lower bound on ln Z.

    Raises:
        ValueError: If a value isn't possible, or the action isn't finite on fields of the flow.

    Example:
        >>> from rgflow import FlowConfig, GaussianPrior, RGFlow, SiteMap, Windows
        >>> from rgflow.actions import FreeField
        >>> shape = {"height": 4, "width": 4, "channels": 1}
        >>> windows = {"geometry": Windows(period=4), "map": SiteMap(hidden=8)}
        >>> flow = RGFlow(FlowConfig(**shape, **windows, prior=GaussianPrior(), pixels=None))
        >>> ReverseKL(action=FreeField(mass2=1.0)).losses(flow, Batch(size=5)).shape
        torch.Size([5])
    """

    action: Action = field(default_factory=FreeField)
    """The action S: free, phi4, ising, potts, blume_capel, or your own by its import path."""
    forward: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of the forward KL(p‖q) in the loss of training, which misses no mode of its fields:
    those of the run's `data`, from a Markov chain; or, with data none, the flow's own samples by
    their weights. Validation is by the reverse one."""
    cooling: Annotated[float, Ge(0), Le(1)] = 0.0
    """Share of the training during which the action rises from half its strength, as at about twice
    the temperature, to all of it: so a flow comes to a broken phase through the transition.
    An exact half is of the whole action throughout."""

    def __post_init__(self) -> None:
        if self.forward == 1 and self.cooling:
            raise ValueError(
                f"Expected a share of the reverse KL where the action rises; got forward 1 and "
                f"cooling {self.cooling:g}: set one of them to less."
            )

    @property
    def needs_data(self) -> bool | None:  # type: ignore[override]  # depends on a setting
        """Data are a choice for the forward KL."""
        return None if self.forward else False

    def check_states(self, states: tuple[float, ...]) -> None:
        if states or self.action.states:
            raise ValueError(
                f"Expected a map and an action of real numbers for the objective {self.kind}; got "
                f"states, {short(states or self.action.states)}: spins need the objective "
                f"reinforce and the map state."
            )

    def begin(self, flow: "Density") -> None:
        """Give maps the scale of independent normal values for which the loss is
        lowest.

        Raises:
            ValueError: If the action isn't one finite number for each field, or isn't even where
                the maps are odd.
        """
        import torch

        generator = torch.Generator().manual_seed(0)
        z = torch.randn((64, *flow.image_shape), generator=generator).to(flow.device, flow.dtype)
        if getattr(flow.config.map, "odd", False) and not is_even(self.action, z):
            raise ValueError(
                "Expected an action with S(−φ) = S(φ) for odd maps; this one differs: set "
                "--model.map.odd false."
            )
        scales = [10 ** (k / 20) for k in range(-40, 41)]
        losses = [
            evaluated(self.action, s * z).mean().item() - flow.dim * math.log(s) for s in scales
        ]
        best = min(zip(losses, scales, strict=True), key=lambda one: one[0])[1]
        for bijector in flow.maps():
            bijector.rescale(best)

    def losses(self, flow: "Density", batch: Batch) -> "Tensor":
        import torch

        share = self.forward if torch.is_grad_enabled() else 0
        if share == 1:
            return self._forward_losses(flow, batch)
        strength = 1.0
        if torch.is_grad_enabled() and batch.progress < self.cooling:
            strength = 0.5 + 0.5 * batch.progress / self.cooling
        losses = self.reverse_losses(flow, batch, strength)
        return (1 - share) * losses + share * self._forward_losses(flow, batch) if share else losses

    def reverse_losses(self, flow: "Density", batch: Batch, strength: float) -> "Tensor":
        """ln q(φ) + S(φ) of samples, with the gradient of this objective, [n]; S times `strength`
        while it rises."""
        with self.without_half(flow) if strength == 1 else nullcontext():
            fields, log_q = flow.sample_and_log_prob(batch.size, batch.generator)
        return log_q + strength * self.energy(fields)

    def _forward_losses(self, flow: "Density", batch: Batch) -> "Tensor":
        """−ln q(φ) of the data, or of samples times their weights, [n]."""
        import torch

        if batch.images is not None:
            return -flow.log_prob(batch.images)
        with torch.no_grad():
            fields, log_q = flow.sample_and_log_prob(batch.size, batch.generator)
            weights = (-log_q - self.energy(fields)).softmax(0) * batch.size
        return -weights * flow.log_prob(fields)

    def without_half(self, flow: "Density") -> "AbstractContextManager[None]":
        """A context in which a flow leaves out that half of fields which it draws exactly from this
        action: ln q(φ) + S(φ) doesn't depend on it."""
        exact = getattr(getattr(flow.config, "geometry", None), "exact", None)
        if exact is None or exact != self.action:
            return nullcontext()
        precision: Any = flow.precision  # type: ignore[attr-defined]  # of a flow with a geometry
        found: AbstractContextManager[None] = precision.changed(half=False)
        return found

    def energy(self, fields: "Tensor") -> "Tensor":
        """The action of fields [N, C, H, W], [N]."""
        return evaluated(self.action, fields)

    def scores(self, losses: "Tensor") -> dict[str, float]:
        """The effective sample size, and the acceptance of an independence Metropolis sampler, from
        the losses of samples [N]."""
        from rgflow.field_theory import accepted, effective_sample_size

        log_w = -losses.double().cpu().numpy()
        held = accepted(log_w)
        moved = (held[1:] != held[:-1]).mean()
        return {"ess": effective_sample_size(log_w), "acceptance": float(moved)}

    def rank(self, nll: float, scores: dict[str, float]) -> float:
        """The effective sample size, negative."""
        return -scores["ess"]


@config
class PathGradient(ReverseKL, kind="path_gradient"):
    """The same with the path gradient (Vaitl et al. 2022, arXiv:2207.08219): d/dθ [ln q(φ) + S(φ)]
    only through the fields φ_θ(z), as the rest of the gradient is 0 on average. Where q is almost
    p, it has almost no noise; a step also evaluates the flow in the other direction."""

    def reverse_losses(self, flow: "Density", batch: Batch, strength: float) -> "Tensor":
        import torch

        if not torch.is_grad_enabled():
            return super().reverse_losses(flow, batch, strength)
        with self.without_half(flow) if strength == 1 else nullcontext():
            fields, _ = flow.sample_and_log_prob(batch.size, batch.generator)
            at = fields.detach().requires_grad_()
            losses = flow.log_prob(at) + strength * self.energy(at)
        (slope,) = torch.autograd.grad(losses.sum(), at)
        along = (slope * fields).flatten(1).sum(1)
        return losses.detach() + along - along.detach()


@config
class Reinforce(ReverseKL, kind="reinforce"):
    """The same by the score-function gradient (Williams 1992), for fields of states, which have no
    derivative: that of ln q(φ), times how much more ln q(φ) + S(φ) is than its mean over the other
    fields of the batch (Kool et al. 2019)."""

    def check_states(self, states: tuple[float, ...]) -> None:
        if not states or self.action.states != states:
            raise ValueError(
                f"Expected an action and a map of the same states for {self.kind}; got "
                f"{short(self.action.states)} and {short(states)}, none being all real numbers."
            )

    def begin(self, flow: "Density") -> None:
        """Check the flow.

        Raises:
            ValueError: If its states aren't those of the action, or its maps have a symmetry that
                the action doesn't have.
        """
        import torch

        map, states = flow.config.map, self.action.states
        self.check_states(map.states)
        if getattr(map, "symmetry", "none") == "none":
            return
        generator = torch.Generator().manual_seed(0)
        at = torch.randint(len(states), (64, *flow.image_shape), generator=generator)
        others = [len(states) - 1 - at]
        if map.symmetry == "permutation":
            others += [(at + 1) % len(states), torch.where(at < 2, 1 - at, at)]  # generate all
        here, *there = (evaluated(self.action, torch.tensor(states)[k]) for k in (at, *others))
        if any((here - one).abs().max() > 1e-5 * here.abs().max() for one in there):
            raise ValueError(
                f"Expected an action with the symmetry {map.symmetry}; this one differs: set "
                f"--model.map.symmetry none."
            )

    def reverse_losses(self, flow: "Density", batch: Batch, strength: float) -> "Tensor":
        fields, log_q = flow.sample_and_log_prob(batch.size, batch.generator)
        losses = log_q.detach() + strength * self.energy(fields)
        others = (losses.sum() - losses) / max(batch.size - 1, 1)
        return losses + (losses - others) * (log_q - log_q.detach())


@config
class UnknownObjective(Named, Objective):
    """A custom objective whose module hasn't been imported: a flow can be used without the
    objective that it was trained with."""

    needs_data = None

    def check_imported(self) -> None:
        imported_class("objective", self.path, self.kinds, Objective)  # type: ignore[type-abstract]

    def losses(self, flow: "Density", batch: Batch) -> "Tensor":
        self.check_imported()
        raise AssertionError(self.path)

    def energy(self, fields: "Tensor") -> "Tensor":
        self.check_imported()
        raise AssertionError(self.path)
