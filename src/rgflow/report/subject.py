"""What a report is about."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from rgflow import figures
from rgflow.analysis.factors import Factors, find_factors
from rgflow.analysis.fields import VISIBLE, ReceptiveFields, receptive_fields
from rgflow.analysis.labels import labels_of
from rgflow.data import Images
from rgflow.flow import Flow
from rgflow.latents import Latents
from rgflow.text import Report, counter
from rgflow.training.run import Run

COLD = 0.8
"""Temperature of the samples that are varied and mixed."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ReportedFlow:
    """The trained flow of a report, and what its sections share.

    Its options are those of `rgflow report`.
    """

    flow: Flow
    test: Images
    """At least four test images."""
    run: Run | None = None
    draws: int = 4
    seed: int = 0
    threshold: float = VISIBLE
    places: int = 8
    beside: tuple[str, Flow] | None = None
    """The name of another flow, and the flow."""
    progress: Report | None = None

    @cached_property
    def images(self) -> torch.Tensor:
        """The test images as a tensor."""
        return torch.from_numpy(self.test.images.copy())

    def scale(self, edge: int = 64) -> int:
        """How large to draw a pixel, for images to be about so many pixels wide."""
        return figures.pixel_size(self.flow.config.width, edge)

    @cached_property
    def real(self) -> Latents:
        """Latents of four test images."""
        return self.flow.encode(self.images[:4].to(self.flow.device))

    @cached_property
    def fields(self) -> ReceptiveFields:
        """Receptive fields of all latents."""
        return self.fields_of(self.flow)

    def fields_of(self, flow: Flow) -> ReceptiveFields:
        """Receptive fields of all latents of this flow or another one."""
        advance = counter(self.progress, "receptive fields", self.draws)
        return receptive_fields(flow, draws=self.draws, seed=self.seed, progress=advance)

    @cached_property
    def factors(self) -> Factors:
        """The meaning of the latents, from the labels of the test images, if there are any."""
        return find_factors(
            self.flow,
            self.images,
            labels_of(self.test.labels),
            places=self.places,
            fields=self.fields,
            threshold=self.threshold,
            seed=self.seed,
            progress=self.progress,
        )

    def drawn(self, n: int, temperature: float | Sequence[float] = COLD) -> Latents:
        """Latents of n samples."""
        return self.flow.draw_each(range(self.seed, self.seed + n), temperature)
