"""What cells of windows read around any sites of a grid, whichever sites their own layer writes.

A photograph has no preferred position, so a map of windows serves, and learns from, any site whose
window lies around it as around its own.

Letters in shapes: C channels; h, w rows and columns; k sites; S sites of a window.
"""

from collections.abc import Iterable
from itertools import pairwise

import torch
from torch import Tensor

from rgflow.bijectors.base import Context
from rgflow.bijectors.cellwise import Cellwise
from rgflow.model import RGFlow
from rgflow.photographs.scoring import coarse_images, with_coarse
from rgflow.repair.windows import window_of


def reach(layers: Iterable[Cellwise]) -> int:
    """How many rows or columns away layers read at most."""
    return max(abs(at) for layer in layers for site in layer.cells.reads for at in site)


class Surroundings:
    """A grid whose windows can be read at any sites.

    Args:
        grid: uint8 [C, h, w]; it is copied.
        margin: `reach` of the layers that will read.

    Attributes:
        grid: The copy; it may be changed.
    """

    def __init__(self, grid: Tensor, margin: int) -> None:
        channels, height, width = grid.shape
        whole = grid.new_zeros(height + 2 * margin, width + 2 * margin, channels + 1)
        self._flat, self._columns, self._margin = whole.flatten(0, 1), whole.shape[1], margin
        inside = whole[margin : margin + height, margin : margin + width]
        whole[..., channels] = 1  # which is outside
        inside[..., channels] = 0
        self.grid = inside[..., :channels].permute(2, 0, 1)
        self.grid.copy_(grid)

    def read(self, layer: Cellwise, sites: Tensor) -> tuple[Tensor, Context]:
        """What cells of a layer at some sites would write, and their context, as `Cellwise.read`.

        Args:
            layer: A layer of windows.
            sites: Row and column of each, [k, 2].

        Returns:
            Levels [k, C], and the context of k cells.
        """
        columns, channels = self._columns, len(self.grid)
        offsets = torch.tensor(layer.cells.reads, device=sites.device)
        at = (sites + self._margin) @ sites.new_tensor([columns, 1])
        found = self._flat[
            (offsets @ offsets.new_tensor([columns, 1]))[:, None] + at
        ]  # [1+S, k, .]
        values = found[1:, :, :channels].permute(0, 2, 1).to(layer.code)
        rows = values.reshape(channels * (len(offsets) - 1), len(sites)).T  # last in memory
        missing = found[1:, :, channels].bool()
        if layer.cells.unknown:
            missing |= torch.tensor(layer.cells.unknown[1:], device=missing.device)[:, None]
            rows = rows.where(~missing.T.repeat_interleave(channels, 1), 0)
        return found[0, :, :channels], Context(rows, layer.coded(rows), missing.T)


class Grids:
    """The grids of all levels of a photograph.

    Args:
        flow: Of the photograph's size.
        image: uint8 [C, H, W].

    Attributes:
        images: What comes to every level, level 0 first.
        known: The same with the next coarse image at the sites that go up. Where that is made of
            sites, these are the same grids.
    """

    def __init__(self, flow: RGFlow, image: Tensor) -> None:
        found, margin = coarse_images(flow, image.to(flow.device)[None]), reach(flow.layers)
        self.images = [Surroundings(one[0], margin) for one in found]
        self.known = self.images
        if flow.config.geometry.averages:
            both = (with_coarse(*two)[0] for two in pairwise(found))
            self.known = [*(Surroundings(one, margin) for one in both), self.images[-1]]

    def of(self, layer: Cellwise) -> Surroundings:
        """The grid that a layer of windows reads."""
        averages = window_of(layer).averages
        return (self.images if averages else self.known)[layer.cells.level]
