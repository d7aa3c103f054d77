"""The Jacobian of generation, ∂G/∂z, in factors that are never multiplied out.

A layer of an RG-Flow maps each of its cells by itself, so its Jacobian consists of small blocks:
what a cell writes, by what it reads. All of them follow from pushing as many tangents as a cell
reads variables through that layer alone, each set in all cells at once; columns of ∂G/∂z then
follow from small matrix products.

Letters in shapes: K tangents; C channels; H, W rows and columns; n cells; A variables that a cell
reads. It writes the first D of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.func import vmap

from rgflow.bijectors.base import Context
from rgflow.bijectors.cellwise import Cellwise
from rgflow.checks import check_name
from rgflow.flow import Flow
from rgflow.latents import Latents
from rgflow.model import RGFlow, Visit
from rgflow.numerics import jvp

Space = Literal["flow", "pixels"]
"""Where changes are measured: in the flow's own space y, before the pixel map, or in pixels."""
ROWS_AT_ONCE = 1 << 16
"""Cells times tangents that go through a layer together, to limit memory."""


@dataclass(frozen=True, eq=False)
class Factors:
    """∂G/∂z at one point of an RG-Flow.

    Attributes:
        enter: Of the map from latents to what the steps work in, which is elementwise; in the image
            layout [C, H, W].
        layers: For every level, level 0 first: its layers in the order of generation, each with the
            Jacobians of its cells, transposed, [n, A, D].
        leave: Of the map from what the steps work in to the space asked for, elementwise [C, H, W].
    """

    enter: Tensor
    layers: Sequence[Sequence[tuple[Cellwise, Tensor]]]
    leave: Tensor

    def push(self, tangents: Tensor, level: int) -> Tensor:
        """Tangents of latents to tangents of images.

        Args:
            tangents: In the image layout [K, C, H, W].
            level: The highest level at which they aren't zero.
        """
        x = tangents * self.enter
        for h in range(level, -1, -1):
            grid = x[:, :, :: 1 << h, :: 1 << h]
            for layer, jacobians in self.layers[h]:
                n, read, written = jacobians.shape
                columns = layer.read_all(grid).view(-1, n, read).transpose(0, 1)
                pushed = torch.bmm(columns, jacobians).transpose(0, 1)
                grid = layer.write(grid, pushed.reshape(-1, written))
            x[:, :, :: 1 << h, :: 1 << h] = grid
        return x * self.leave


@torch.no_grad()
def factors(flow: RGFlow, z: Latents, space: Space = "flow") -> Factors:
    """The factors of ∂G/∂z at the latents of one image; a `ValueError` if there are several."""
    if len(z) != 1:
        raise ValueError(f"Expected the latents of one image; got {len(z)}.")
    flow.refuse_labels("receptive fields")
    levels, slopes = zip(*(_elementwise(flow.to_domain, part) for part in z.levels), strict=True)
    layers: list[list[tuple[Cellwise, Tensor]]] = []
    for visit in flow.walk_back(levels):
        if visit.first:
            layers.insert(0, [])
        layers[0].append((visit.layer, _cell_jacobians(visit)))
    leave = _elementwise(exit_to(flow, space), visit.after)[1]
    return Factors(Latents(slopes, z.lattice).image()[0], layers, leave[0])


def _cell_jacobians(visit: Visit) -> Tensor:
    """The transposed Jacobians of what the cells of a layer generate, [n, A, D]."""
    cells, known = visit.read
    read = torch.cat((cells, known.values), 1)

    def generate(read: Tensor) -> Tensor:
        own, values = read.split((cells.shape[1], known.values.shape[1]), 1)
        given = Context(values, known.embedding, known.missing)
        return visit.layer.bijector.inverse(own, given)[0]

    def push(direction: Tensor) -> Tensor:
        return jvp(generate, (read,), (direction.expand_as(read),))[1]

    basis = torch.eye(read.shape[1], dtype=read.dtype, device=read.device)
    each = max(1, ROWS_AT_ONCE // len(read))
    return vmap(push, chunk_size=each)(basis).transpose(0, 1).contiguous()


def exit_to(flow: Flow, space: Space) -> Callable[[Tensor], Tensor]:
    """The elementwise map, for any shape, from the domain of a flow's steps to a space."""
    check_name("space", space, get_args(Space))
    if space == "pixels":
        return lambda x: flow.to_images(x)[0]
    return flow.from_domain


def _elementwise(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """An elementwise function, and its derivative."""
    result = jvp(function, (x,), (torch.ones_like(x),))
    return result[0], result[1]
