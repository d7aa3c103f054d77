"""Any bijector of vectors as a layer of an image, applied to its m×m blocks.

Letters in shapes: N images; C channels; p, q rows and columns of blocks; m edge of a block,
D = C·m² its variables; n = m/2.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rgflow.bijectors.base import Bijector, Mapped
from rgflow.lattice import Layer

SUBLATTICES = ((0, 0), (1, 1), (0, 1), (1, 0))
"""Offsets of the four sublattices, in the order in which a block's vector has them."""


def cut(x: Tensor, m: int) -> Tensor:
    """Cut images [N, C, p·m, q·m] into blocks [N·p·q, D], even half first.

    The variables of a block are ordered by sublattice (0, 0), (1, 1), (0, 1), (1, 0), then channel,
    row and column; so the first half are the even sites of the checkerboard, the second the odd.
    """
    n = m // 2
    images, channels, height, width = x.shape
    p, q = height // m, width // m
    x = x.reshape(images, channels, p, n, 2, q, n, 2).permute(0, 2, 5, 4, 7, 1, 3, 6)
    parts = [x[:, :, :, i, j] for i, j in SUBLATTICES]
    return torch.stack(parts, 3).reshape(images * p * q, channels * m * m)


def join(blocks: Tensor, m: int, channels: int, p: int, q: int) -> Tensor:
    """The inverse of `cut`: [N·p·q, D] → [N, C, p·m, q·m]."""
    n = m // 2
    even, even_, odd, odd_ = blocks.reshape(-1, p, q, 4, channels, n, n).unbind(3)
    x = torch.stack((even, odd, odd_, even_), 3).reshape(-1, p, q, 2, 2, channels, n, n)
    return x.permute(0, 5, 1, 6, 3, 2, 7, 4).reshape(-1, channels, p * m, q * m)


class Blockwise(Bijector):
    """Apply one bijector to every block of a layer (paper, eqs. 6 and 7).

    Args:
        bijector: A map of vectors [R, D]; it may be shared with other layers.
        layer: Where the blocks are.
        channels: Channels C of the images.
        embedding: Size E of a learned embedding of every block's position, which the bijector is
            told; 0: it isn't told where a block is.
    """

    def __init__(self, bijector: Bijector, layer: Layer, channels: int, embedding: int = 0) -> None:
        super().__init__((channels, *layer.grid))
        self.bijector, self.layer, self.channels = bijector, layer, channels
        self.domain, self.codomain = bijector.domain, bijector.codomain
        rows, columns = layer.blocks
        self.positions = nn.Embedding(rows * columns, embedding) if embedding else None

    def transform(self, x: Tensor) -> Mapped:
        return self.on_blocks(self.of_all(len(x)).forward, x)

    def invert(self, y: Tensor) -> Mapped:
        return self.on_blocks(self.of_all(len(y)).inverse, y)

    def of(self, numbers: Tensor) -> Bijector:
        """The bijector, for blocks with these numbers, [R]; a layer's are counted row by row."""
        return self.bijector.at(self.positions(numbers)) if self.positions else self.bijector

    def of_all(self, images: int) -> Bijector:
        """The bijector, for all blocks of so many images, in the order of `cut`."""
        if not self.positions:
            return self.bijector
        return self.bijector.at(self.positions.weight.repeat(images, 1))

    def on_blocks(self, function: Callable[[Tensor], Mapped], x: Tensor) -> Mapped:
        """Any map of vectors, with log-determinants, on the blocks of images of this layer.

        Args:
            function: [R, D] to [R, D] and [R]; with N images it gets the blocks of all, R = N·p·q.
            x: [N, C, H, W].
        """
        layer, s = self.layer, self.layer.shift
        rows, columns = layer.blocks[0] * layer.m, layer.blocks[1] * layer.m
        if s and layer.periodic:
            x = x.roll((-s, -s), (2, 3))
        inside = x[:, :, s : s + rows, s : s + columns] if s and not layer.periodic else x
        blocks, log_det = function(cut(inside, layer.m))
        y = join(blocks, layer.m, self.channels, *layer.blocks)
        if s and layer.periodic:
            y = y.roll((s, s), (2, 3))
        elif s:
            y = x.slice_scatter(
                x[:, :, s : s + rows].slice_scatter(y, 3, s, s + columns), 2, s, s + rows
            )
        return y, log_det.reshape(len(x), -1).sum(1)
