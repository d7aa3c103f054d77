"""What a report is about: a flow of images, or one that has learned an action."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from rgflow import figures
from rgflow.analysis.factors import Factors, find_factors
from rgflow.analysis.fields import VISIBLE, ReceptiveFields, receptive_fields
from rgflow.analysis.labels import labels_of
from rgflow.analysis.measurement import Measurement, measure
from rgflow.analysis.scales import Scale, scales
from rgflow.data import Images
from rgflow.flow import Flow
from rgflow.latents import Latents
from rgflow.objectives import Objective
from rgflow.text import Report, counter
from rgflow.training.run import Run

SAMPLE_TEMPERATURE = 0.8
"""Temperature of the samples that are varied and mixed: below 1, as these look less noisy."""
SAMPLES = 5000
"""Samples of lattice fields, and fields of the reference."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Reported:
    """The trained flow of a report, and what its sections share.

    Its options are those of `rgflow report`.
    """

    flow: Flow
    title: str = ""
    draws: int = 4
    seed: int = 0
    threshold: float = VISIBLE
    beside: tuple[str, Flow] | None = None
    """The name of another flow, and the flow, to compare receptive fields with."""
    progress: Report | None = None

    @property
    def example(self) -> Tensor | None:
        """An image [C, H, W] to draw cones over; none: empty pixels."""
        return None

    @cached_property
    def fields(self) -> ReceptiveFields:
        """Receptive fields of all latents."""
        return self._fields_of(self.flow)

    @property
    def compared(self) -> dict[str, ReceptiveFields]:
        """Receptive fields of this flow, and of another one if it is compared with one."""
        others = [self.beside] if self.beside else []
        return {"this flow": self.fields} | {n: self._fields_of(flow) for n, flow in others}

    def _fields_of(self, flow: Flow) -> ReceptiveFields:
        advance = counter(self.progress, "receptive fields", self.draws)
        return receptive_fields(flow, draws=self.draws, seed=self.seed, progress=advance)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportedFlow(Reported):
    """A flow of images, with at least four test images."""

    test: Images
    run: Run | None = None
    places: int = 8

    @cached_property
    def images(self) -> Tensor:
        """The test images, [N, C, H, W]."""
        return torch.from_numpy(self.test.images.copy())

    @property
    def example(self) -> Tensor:
        """The first test image, [C, H, W]."""
        return self.images[0]

    def scale(self, edge: int = 64) -> int:
        """The size at which to draw a pixel, for images to be about `edge` pixels wide."""
        return figures.pixel_size(self.flow.config.width, edge)

    @cached_property
    def real(self) -> Latents:
        """Latents of four test images."""
        return self.flow.encode(self.images[:4].to(self.flow.device))

    @cached_property
    def factors(self) -> Factors:
        """The meaning of the latents, from the labels of the test images, if there are any."""
        return find_factors(
            self.flow,
            self.images,
            labels_of(self.test.labels),
            places=self.places,
            fields=self.fields,
            seed=self.seed,
            progress=self.progress,
        )

    def drawn(self, n: int, temperature: float | Sequence[float] = SAMPLE_TEMPERATURE) -> Latents:
        """Latents of n samples."""
        return self.flow.draw_each(range(self.seed, self.seed + n), temperature)


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportedAction(Reported):
    """A flow of fields that has learned an action."""

    objective: Objective
    threshold: float = 0.01
    """Strength above which a latent is visible, in units of the field, where pixels have 256."""

    @cached_property
    def measurement(self) -> Measurement:
        """ln Z and observables, beside a reference."""
        return measure(
            self.flow,
            self.objective,
            samples=SAMPLES,
            reference=SAMPLES,
            seed=self.seed,
            progress=counter(self.progress, "samples", SAMPLES),
        )

    @cached_property
    def scales(self) -> list[Scale]:
        """The levels, as fields of the reference show them."""
        action, shape = self.objective.density, self.flow.image_shape
        fields = action.reference_fields(shape, SAMPLES, self.seed + 1)[0]
        return scales(self.flow, fields.flatten(0, 1))
