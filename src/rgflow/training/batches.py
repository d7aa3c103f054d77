"""Batches of training images with their noise, as functions of the seed and the step alone."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rgflow.bijectors.pixels import with_noise
from rgflow.objectives import Batch

Array = NDArray[Any]
ORDER, NOISE, MIRROR, CHANNELS, SAMPLES = range(5)
"""Purposes of random numbers, each with streams of its own."""


class Batches:
    """Shuffled batches of images, dequantised if they are integers.

    Every epoch visits the images once in a new order. There is no state between calls, so a batch
    can be made for any step. The noise depends on the place in the global batch, and so not on the
    number of processes.

    Args:
        images: [N, C, H, W], uint8, or real-valued fields; `None` for batches without images.
        batch_size: Images per step, over all processes.
        seed: Seed of order, noise and mirroring.
        flip: Whether to mirror half of the images.
        shuffle_channels: Whether to put the channels of each image in a random order.
        rank: Number of this process.
        world: Number of processes.
        dtype: Number format of the result.
        endless: Makes new images, used instead of `images`: from the number of the first one, and
            how many.
        labels: Labels of the images, [N] or [N, K], if the flow has labels.

    Raises:
        ValueError: If the batch can't be shared equally.
    """

    def __init__(
        self,
        images: Array | None,
        *,
        batch_size: int,
        seed: int = 0,
        flip: bool = False,
        shuffle_channels: bool = False,
        rank: int = 0,
        world: int = 1,
        dtype: torch.dtype = torch.float32,
        endless: Callable[[int, int], Array] | None = None,
        labels: Array | None = None,
    ) -> None:
        if batch_size % world:
            raise ValueError(
                f"Expected a batch_size that {world} processes can share equally; got {batch_size}."
            )
        self.images, self.batch_size, self.seed = images, batch_size, seed
        self.flip, self.shuffle_channels = flip, shuffle_channels
        self.dtype, self.endless, self.labels = dtype, endless, labels
        self.rank = rank
        share = batch_size // world
        self.part = slice(rank * share, (rank + 1) * share)
        self._order = lru_cache(maxsize=2)(self._order_of)

    def _order_of(self, epoch: int) -> NDArray[np.int64]:
        assert self.images is not None
        return np.random.default_rng((self.seed, ORDER, epoch)).permutation(len(self.images))

    def indices(self, step: int) -> NDArray[np.int64]:
        """Which images are in the global batch of a step, [batch_size]."""
        assert self.images is not None
        n = len(self.images)
        places = np.arange(step * self.batch_size, (step + 1) * self.batch_size)
        return np.array([self._order(int(place) // n)[place % n] for place in places])

    def at(self, step: int, device: torch.device) -> Batch:
        """This process' part of the batch of a step, on a device."""
        random = np.random.default_rng((self.seed, SAMPLES, step, self.rank))
        generator = torch.Generator(device).manual_seed(int(random.integers(1 << 62)))
        size = self.part.stop - self.part.start
        if self.images is None:
            return Batch(size=size, generator=generator)
        labels = None
        if self.labels is not None:
            labels = torch.from_numpy(self.labels[self.indices(step)[self.part]]).to(device)
        return Batch(size=size, images=self[step].to(device), labels=labels, generator=generator)

    def __getitem__(self, step: int) -> Tensor:
        """The images of this process' part of the batch of a step, reals [n, C, H, W]."""
        assert self.images is not None
        if self.endless:
            first = step * self.batch_size + self.part.start
            x = self.endless(first, self.part.stop - self.part.start)
        else:
            # In the order in which they lie on the disk would be kinder to it, but then the order
            # of sums, and with it the last digits, would depend on the number of processes.
            x = self.images[self.indices(step)[self.part]]
        if self.flip:
            mirrored = np.random.default_rng((self.seed, MIRROR, step)).random(self.batch_size)
            x = np.where(mirrored[self.part, None, None, None] < 0.5, x[..., ::-1], x)
        if self.shuffle_channels:
            random = np.random.default_rng((self.seed, CHANNELS, step))
            orders = random.random((self.batch_size, x.shape[1])).argsort(1)[self.part]
            x = np.take_along_axis(x, orders[:, :, None, None], 1)
        images = torch.from_numpy(np.ascontiguousarray(x))
        if images.is_floating_point():
            return images.to(self.dtype)
        return with_noise(images, self._noise(step, images.shape), self.dtype)

    def _noise(self, step: int, shape: torch.Size) -> Tensor:
        """Random 16-bit integers; those of a place in the batch depend on seed and step alone."""
        words = -(-shape[1:].numel() // 4)  # each holds four of them
        words += -words % 4  # the generator makes four at a time
        key = np.array([self.seed, NOISE], np.uint64)
        place = step * self.batch_size + self.part.start
        generator = np.random.Philox(key=key, counter=place * (words // 4))
        raw = generator.random_raw(shape[0] * words).astype("<u8", copy=False)
        values = raw.view("<u2").reshape(shape[0], 4 * words)[:, : shape[1:].numel()]
        return torch.from_numpy(values.astype(np.int32)).view(shape)
