"""The trained flow that is measured, with its images, and the result of a measure."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from PIL import Image
from torch import Tensor

from rgflow import data
from rgflow.analysis.labels import Label, labels_of
from rgflow.config import TrainConfig
from rgflow.figures import pixel_size
from rgflow.flow import Flow
from rgflow.metrics.frechet import Features


class Picture(NamedTuple):
    """A picture, and what it shows."""

    image: Image.Image
    caption: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The result of a measure: plain values and pictures, by name."""

    numbers: dict[str, Any]
    pictures: dict[str, Picture] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class MeasuredFlow:
    """A trained flow, on any device, with the settings of its training."""

    flow: Flow
    config: TrainConfig
    name: str
    beside: tuple[str, Flow] | None = None
    """The name of another flow, and the flow, to compare with."""
    inception: Features | None = None
    """Features for FID."""

    def images(self, count: int, split: data.Split = "test") -> Tensor:
        """The first images of its data set, uint8."""
        images = data.load_for(self.config, split, count=count, progress=False).images
        return torch.from_numpy(images.copy())

    def classes(self, count: int, split: data.Split = "test") -> Tensor | None:
        """The labels of these images that the flow has as conditions, if it has any."""
        images = data.load_for(self.config, split, count=count, progress=False)
        found = images.classes(self.flow.config.labels)
        return None if found is None else torch.from_numpy(found)

    def labels(self, count: int) -> list[Label]:
        """The labels of the first test images."""
        return labels_of(data.load_for(self.config, "test", count=count, progress=False).labels)

    def scale(self, width: int = 64) -> int:
        """How large to draw a pixel, for images to be about so many pixels wide."""
        return pixel_size(self.flow.config.width, width)
