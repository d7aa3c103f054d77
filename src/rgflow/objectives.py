"""What a step of training minimises: an `Objective`, chosen in the settings of a run.

Like the settings themselves, this module imports no torch.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from rgflow.checks import own_fields
from rgflow.kinds import own_class

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from rgflow.flow import Flow


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """What one step, or a part of one, learns from.

    Attributes:
        size: Number of images n, or of samples to draw.
        images: Reals in [0, 256), or fields, [n, C, H, W]; none: the objective needs none.
        labels: Of the images, if the flow has labels, [n].
        generator: Source of randomness, which depends on the run's seed and the step alone.
    """

    size: int
    images: "Tensor | None" = None
    labels: "Tensor | None" = None
    generator: "torch.Generator | None" = None

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
            )
            for k, size in enumerate(sizes)
        ]


@dataclass(frozen=True, kw_only=True)
class Objective(ABC):
    """What a step of training minimises; a kind of objective is a subclass, whose fields are its
    options. One of your own is named by its import path.

    Training minimises the mean of `losses`, and reports it, and the same of validation images, in
    the unit of the flow's likelihoods.
    """

    needs_data: ClassVar[bool] = True
    """Whether it learns from images; otherwise the run's `data` is null."""

    def __post_init__(self) -> None:
        own_fields(self)

    @abstractmethod
    def losses(self, flow: "Flow", batch: Batch) -> "Tensor":
        """What is minimised, for each image or sample of a batch, in nats [n].

        Args:
            flow: The flow, of which the parameters are learned.
            batch: Of the data set; without one only the number of samples, and a generator.
        """


@dataclass(frozen=True, kw_only=True)
class MaximumLikelihood(Objective):
    """−log p(x) of images (paper, eq. 13)."""

    def losses(self, flow: "Flow", batch: Batch) -> "Tensor":
        assert batch.images is not None
        return -flow.log_prob(batch.images, labels=batch.labels)


@dataclass(frozen=True, kw_only=True)
class UnknownObjective(Objective):
    """An objective of somebody's own whose module hasn't been imported: what it was trained with
    doesn't matter to what a flow can do."""

    path: str
    own: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As in a config."""
        return {"kind": self.path, **self.own}

    def losses(self, flow: "Flow", batch: Batch) -> "Tensor":
        own_class("objective", self.path, OBJECTIVES, Objective)  # type: ignore[type-abstract]
        raise AssertionError(self.path)


OBJECTIVES: dict[str, type[Objective]] = {"likelihood": MaximumLikelihood}
