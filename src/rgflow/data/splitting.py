"""Which images are for training, validation and test.

The hash of an image's path, or of its number, decides. So the splits are the same on every machine,
and they don't depend on the order of the files.
"""

import hashlib
import os
from bisect import bisect
from collections.abc import Mapping, Sequence

from rgflow.data.source import SPLITS, Split

SHARE = 0.05
"""Share of the training images used as a split if the data set has none."""
NAMES: dict[str, Split] = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
}
"""Common names of splits, and those used here."""


def place(key: str) -> float:
    """A pseudorandom number in [0, 1) that depends on the key alone.

    >>> round(place("cats/1.png"), 4)
    0.0119
    """
    return int.from_bytes(hashlib.sha256(os.fsencode(key)).digest()[:6], "big") / 2**48


def share(keys: Sequence[str], split: Split, splits: Sequence[Split], where: object) -> list[int]:
    """The positions of the keys that belong to one of some splits, in the order of their hashes.

    That order is as good as random, also where keys are sorted by class. Each split but the first
    gets 5 %, and every split at least one key. Adding keys moves no others, except the few that
    keep a small split from being empty.

    Args:
        keys: Paths or numbers of the images.
        split: The split that is wanted.
        splits: All splits that share the keys; the first gets what is left.
        where: The set, for messages.

    Raises:
        ValueError: If there are fewer keys than splits.

    >>> share([str(number) for number in range(40)], "test", ("train", "test"), "there")
    [20]
    """
    if len(keys) < len(splits):
        raise ValueError(
            f"Expected at least {len(splits)} images in {where}, one each for "
            f"{', '.join(splits)}; got {len(keys)}; add images."
        )
    places = [place(key) for key in keys]
    order = sorted(range(len(keys)), key=lambda k: (places[k], keys[k]))
    ordered = [places[k] for k in order]
    bounds = [0]
    for k in range(1, len(splits)):
        bound = bisect(ordered, 1 - SHARE * (len(splits) - k))
        bounds.append(min(max(bound, bounds[-1] + 1), len(keys) - len(splits) + k))
    bounds.append(len(keys))
    k = splits.index(split)
    return order[bounds[k] : bounds[k + 1]]


def members(sizes: Mapping[Split, int], split: Split, where: object) -> tuple[Split, list[int]]:
    """The part of a data set that contains a split, and the indices of the split's images in it.

    Args:
        sizes: Numbers of images by the splits that the set comes with; other splits are taken from
            its training images.
        split: The split that is wanted.
        where: The set, for messages.

    Raises:
        ValueError: If there are no such images, or too few to take them from.

    >>> members({"train": 3, "test": 2}, "test", "there")
    ('test', [0, 1])
    >>> members({"train": 3, "test": 2}, "validation", "there")
    ('train', [2])
    """
    if not sizes.get(split, sizes.get("train")):
        raise ValueError(f"Expected {split} images in {where}; got none; check the set.")
    if split != "train" and split in sizes:
        return split, list(range(sizes[split]))
    carved = [name for name in SPLITS if name == "train" or name not in sizes]
    numbers = [str(number) for number in range(sizes["train"])]
    return "train", share(numbers, split, carved, where)
