"""What sets that are drawn at random share: random numbers by image, and processes that draw.

Letters in shapes: N images; R random numbers of each.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from joblib import Parallel, delayed

from rgflow.data.images import Array
from rgflow.data.source import Chunk, processors

AnyTask = TypeVar("AnyTask")


def uniform(seed: int, stream: int, start: int, count: int, each: int) -> Array:
    """Random numbers [N, R], uniform in [0, 1), of images `start` to `start + count`.

    All come from one counter-based generator, in blocks of four, so those of the images before
    needn't be drawn.

    Args:
        seed: Seed of the set.
        stream: Which of the streams of that seed.
        start: Number of the first image.
        count: Number of images, N.
        each: Random numbers per image, R, divisible by 4.

    >>> (uniform(0, 0, 2, 1, 4) == uniform(0, 0, 0, 3, 4)[2:]).all()
    np.True_
    """
    # The raw 64-bit stream is the part of NumPy's random numbers that never changes.
    key = np.array([seed, stream], np.uint64)
    raw = np.random.Philox(key=key, counter=start * each // 4).random_raw(count * each)
    numbers: Array = ((raw >> np.uint64(11)) * 2.0**-53).reshape(count, each)
    return numbers


def drawn(
    draw: Callable[[AnyTask], Chunk], tasks: Iterable[AnyTask], workers: int | None, most: int
) -> Iterator[Chunk]:
    """The chunks of images of these tasks, in order.

    Args:
        draw: Draws a chunk.
        tasks: What it is given for each.
        workers: Processes that draw; 0: this one draws; None: as many as the machine has.
        most: Number of processes, at most, that are worth their start, where `workers` is None.
    """
    if workers is None:
        workers = min(processors(), most)
    if workers == 0:
        return map(draw, tasks)
    # joblib's processes don't run the user's script again, as those of multiprocessing would.
    made: Iterator[Chunk] = Parallel(workers, return_as="generator")(map(delayed(draw), tasks))
    return made
