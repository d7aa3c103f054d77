"""Which images come when, and with which noise: a function of the seed and the step alone."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.bijectors.pixels import dequantize

Array = NDArray[np.uint8]


class Batches:
    """Shuffled, dequantised batches of uint8 images.

    Every epoch visits the images once in a new order. Nothing is remembered between calls, so any
    step can be asked for at any time, and several processes each take their part of the same
    global batch.

    Args:
        images: [N, C, H, W], uint8.
        batch_size: Images per step, over all processes.
        seed: Of order, noise and mirroring.
        flip: Whether to mirror half of the images.
        rank: This process.
        world: Number of processes.
    """

    def __init__(
        self,
        images: Array,
        *,
        batch_size: int,
        seed: int = 0,
        flip: bool = False,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.images, self.batch_size, self.seed, self.flip = images, batch_size, seed, flip
        self.rank, self.world = rank, world
        self._order = lru_cache(maxsize=2)(self._order_of)

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        return np.random.default_rng((self.seed, 0, epoch)).permutation(len(self.images))

    def indices(self, step: int) -> NDArray[np.int64]:
        """Which images are in the global batch of a step, [batch_size]."""
        n = len(self.images)
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        return np.array([self._order(int(place) // n)[place % n] for place in places])

    def __getitem__(self, step: int) -> Tensor:
        """This process' part of the batch of a step, dequantised reals [n, C, H, W]."""
        part = slice(self.rank, None, self.world)
        indices = self.indices(step)[part]
        x8 = self.images[indices]
        if self.flip:
            mirrored = np.random.default_rng((self.seed, 1, step)).random(self.batch_size) < 0.5
            x8 = np.where(mirrored[part, None, None, None], x8[..., ::-1], x8)
        return _noisy(torch.from_numpy(np.ascontiguousarray(x8)), self.seed, step, self.rank)


def _noisy(x8: Tensor, *key: int) -> Tensor:
    """Dequantise with noise that is keyed by some integers."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> np.uint64(1))
    return dequantize(x8, torch.Generator().manual_seed(seed))
