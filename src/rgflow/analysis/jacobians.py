"""The Jacobian of generation, ∂G/∂z, in factors that are never multiplied out.

A layer of an RG-Flow maps each of its blocks by itself, so its Jacobian is block-diagonal. D = C·m²
tangents, each set in all blocks at once, through that layer alone give all its blocks; columns of
∂G/∂z then follow from small matrix products.

Letters in shapes: K tangents; C channels; H, W rows and columns; D variables of a block.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.func import jvp, vmap

from rgflow.bijectors.blockwise import Blockwise
from rgflow.config import check_name
from rgflow.flow import Flow
from rgflow.latents import Latents, interleave
from rgflow.model import RGFlow

Space = Literal["flow", "pixels"]
"""Where images are looked at: in the flow's own space y, before the pixel map, or as pixels."""
ROWS_AT_ONCE = 1 << 16
"""Blocks times tangents that go through a layer together, for the sake of memory."""


@dataclass(frozen=True, eq=False)
class Factors:
    """∂G/∂z at one point of an RG-Flow.

    Attributes:
        enter: Of the map from latents to what the steps work in, which is elementwise; in the image
            layout [C, H, W].
        layers: For every level, level 0 first: its layers in the order of generation, each with the
            Jacobians of its blocks, transposed, [blocks, D, D].
        leave: Of the map from what the steps work in to the space asked for, elementwise [C, H, W].
    """

    enter: Tensor
    layers: Sequence[Sequence[tuple[Blockwise, Tensor]]]
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
                grid = layer.on_blocks(_product(jacobians), grid)[0]
            x[:, :, :: 1 << h, :: 1 << h] = grid
        return x * self.leave


def _product(jacobians: Tensor) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """The linear map of blocks [K·blocks, D] that one layer's Jacobians make."""

    def apply(blocks: Tensor) -> tuple[Tensor, Tensor]:
        b, d, _ = jacobians.shape
        columns = blocks.view(-1, b, d).transpose(0, 1)
        return torch.bmm(columns, jacobians).transpose(0, 1).reshape(-1, d), blocks.new_zeros(
            len(blocks)
        )

    return apply


@torch.no_grad()
def factors(flow: RGFlow, z: Latents, space: Space = "flow") -> Factors:
    """The factors of ∂G/∂z at the latents of one image.

    Args:
        flow: The flow.
        z: Latents of a single image.
        space: Where images are looked at.

    Raises:
        ValueError: If there are several images.
    """
    if len(z) != 1:
        raise ValueError(f"Expected the latents of one image; got {len(z)}.")
    into, out = flow.to_domain, exit_to(flow, space)
    levels, slopes = zip(*(_elementwise(into, part) for part in z.levels), strict=True)
    layers: list[list[tuple[Blockwise, Tensor]]] = []
    x = levels[-1][:, :, :0, :0]
    with flow.exactly():
        for step, stay in zip(reversed(flow.steps), reversed(levels), strict=True):
            x = stay if step.top else interleave(x, stay)
            made = []
            for layer in reversed(step.blockwise):
                x, jacobians = _layer_jacobians(layer, x)
                made.append((layer, jacobians))
            layers.insert(0, made)
        leave = _elementwise(out, x)[1]
    return Factors(Latents(slopes, z.lattice).image()[0], layers, leave[0])


def _layer_jacobians(layer: Blockwise, y: Tensor) -> tuple[Tensor, Tensor]:
    """What a layer generates from y [1, C, H, W], and the transposed Jacobians of its blocks."""
    found: list[Tensor] = []
    bijector = layer.of_all(len(y))

    def differentiated(blocks: Tensor) -> tuple[Tensor, Tensor]:
        def generate(b: Tensor) -> Tensor:
            return bijector.inverse(b)[0]

        def push(direction: Tensor) -> Tensor:
            return jvp(generate, (blocks,), (direction.expand_as(blocks),))[1]

        basis = torch.eye(blocks.shape[1], dtype=blocks.dtype, device=blocks.device)
        each = max(1, ROWS_AT_ONCE // len(blocks))
        found.append(vmap(push, chunk_size=each)(basis).transpose(0, 1).contiguous())
        return bijector.inverse(blocks)

    x = layer.on_blocks(differentiated, y)[0]
    return x, found[0]


def exit_to(flow: Flow, space: Space) -> Callable[[Tensor], Tensor]:
    """The elementwise map from what the steps of a flow work in to a space."""
    check_name("space", space, get_args(Space))
    if space == "pixels":
        return lambda x: flow.entry.inverse(x)[0] if flow.entry else x
    return flow.from_domain


def _elementwise(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """An elementwise function, and its derivative."""
    result = jvp(function, (x,), (torch.ones_like(x),))
    return result[0], result[1]
