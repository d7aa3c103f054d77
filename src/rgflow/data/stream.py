"""Random crops of the pictures in Parquet files and tar archives, without a cache on disk.

Sets may be larger than a disk. A process reads its share of the archives one after the other, in an
order that depends on the seed and the epoch. Blocks of encoded pictures are shuffled in memory, and
each picture gives a random crop of the flow's size. A crop depends on the seed, the number of
processes and its number in the stream alone, so a training that was interrupted resumes with the
same batches.

The hash of an archive's name and of the picture's number decides on the split, as in
`rgflow.data.splitting`: 5 % each for validation and test.
"""

import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np
from PIL import ImageOps

from rgflow.data import splitting
from rgflow.data.archives import ARCHIVES, Archive, place
from rgflow.data.decoding import Target, open_picture, pictures
from rgflow.data.images import Array, Pixels
from rgflow.data.source import Request, Source, Split, processors, stamp
from rgflow.files import located

BLOCK = 512
"""Encoded pictures that are shuffled together in memory."""
SAMPLE = 2048
"""Pictures that represent the stream where some are needed, such as to fit the pixel map."""
ORDER, CROPS = 17, 18
"""Streams of random numbers, beside those of `rgflow.training.batches`."""
BOUNDS: dict[Split, tuple[float, float]] = {
    "train": (0, 1 - 2 * splitting.SHARE),
    "validation": (1 - 2 * splitting.SHARE, 1 - splitting.SHARE),
    "test": (1 - splitting.SHARE, 1),
}
"""The hashes of each split."""


def source(request: Request) -> Source:
    """Some crops of `stream:PATH`, one of each picture; training takes its own from a `Stream`.

    Args:
        request: As asked by `rgflow.data.load`.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If there are no archives, or no pictures of the split.
    """
    archives, target = find_archives(request.argument), Target.of(request)
    members = [(one, number) for one in archives for number in numbers_of(one, request.split)]
    if not members:
        raise ValueError(
            f"Expected pictures for the {request.split} split, 5 % of all, in "
            f"{request.argument}; there are none: add pictures."
        )

    def crop(k: int) -> Pixels:
        one, number = members[k]
        (content,) = (content for _, content in one.read([number]))
        return _crop(content, target, np.random.default_rng((request.seed, CROPS, number)))

    return pictures(
        replace(request, count=request.count or SAMPLE),
        target,
        lambda decode: decode(crop),
        kind=f"stream-{Path(request.argument).stem[:40]}",
        where=request.argument,
        names=[f"{one.path.name}#{number}" for one, number in members],
        source="stream",
        shards=[(str(one.path), *stamp(one.path)) for one in archives],
        split=request.split,
        seed=request.seed,
        version=2,
    )


def find_archives(name: str) -> list[Archive]:
    """The archives in a folder and those below it, or a single one, in the order of their names.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If there are no archives.
    """
    path = place(name) if "://" in name else located(name)
    if not path.exists():
        raise FileNotFoundError(f"Expected a folder of shards after stream:; {path} isn't there.")
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = [Archive(file) for file in files if file.suffix.lower() in ARCHIVES]
    if not found:
        raise ValueError(f"Expected .parquet or .tar files in {path}; there are none.")
    return found


def numbers_of(one: Archive, split: Split) -> list[int]:
    """The numbers of the pictures of a split in an archive."""
    low, high = BOUNDS[split]
    places = (splitting.place(f"{one.path.name}#{number}") for number in range(len(one)))
    return [number for number, place in enumerate(places) if low <= place < high]


class Stream:
    """Random crops of the training pictures in archives, without an end.

    Args:
        name: Path of the folder, or of one archive.
        target: Size and colours of the crops.
        seed: Seed of order and crops.
        rank: Number of this process, which reads every `world`-th archive, or every `world`-th
            picture where there are fewer archives than processes.
        world: Number of processes.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If there are no archives, or no pictures for this process.
    """

    def __init__(
        self, name: str, target: Target, *, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.name, self.target, self.seed = name, target, seed
        self.rank, self.world = rank, world
        archives = find_archives(name)
        if len(archives) >= world:
            mine = [(one, numbers_of(one, "train")) for one in archives[rank::world]]
        else:
            mine = [(one, numbers_of(one, "train")[rank::world]) for one in archives]
        self._members = mine
        if not len(self):
            raise ValueError(
                f"Expected training pictures in {name} for each of {world} processes; process "
                f"{rank} has none: make more shards, or start fewer processes."
            )
        self._order = lru_cache(maxsize=1)(self._order_of)
        self._block = lru_cache(maxsize=1)(self._block_of)

    def __len__(self) -> int:
        """Pictures of an epoch."""
        return sum(len(numbers) for _, numbers in self._members)

    def __call__(self, first: int, count: int) -> Array:
        """Crops for this process' share of a batch, uint8 [count, C, H, W].

        Args:
            first: Number of the first crop, counted over all processes.
            count: Number of crops, the same in each process.

        Raises:
            ValueError: If no picture in a block can be read.
        """
        mine = (first - self.rank * count) // self.world
        wanted = [(number, self._candidates(number)) for number in range(mine, mine + count)]
        with ThreadPoolExecutor(processors()) as pool:
            return np.stack(list(pool.map(self._image, wanted)))

    def _candidates(self, number: int) -> list[bytes | None]:
        """The encoded picture with a number, and those to take if it is damaged."""
        epoch, place = divmod(number, len(self))
        block, inside = divmod(place, BLOCK)
        contents = self._block(epoch, block)
        return contents[inside:] + contents[:inside]

    def _image(self, wanted: tuple[int, list[bytes | None]]) -> Pixels:
        number, contents = wanted
        random = np.random.default_rng((self.seed, CROPS, self.rank, number))
        for content in contents:
            with suppress(Exception):  # the only class Pillow's errors have in common
                return _crop(content, self.target, random)
        raise ValueError(f"Expected readable pictures in {self.name}; got {BLOCK} damaged ones.")

    def _order_of(self, epoch: int) -> list[tuple[int, int]]:
        """The pictures of an epoch, as places of archives in `_members` and numbers there."""
        random = np.random.default_rng((self.seed, ORDER, epoch))
        archives = random.permutation(len(self._members)).tolist()
        return [(k, number) for k in archives for number in self._members[k][1]]

    def _block_of(self, epoch: int, block: int) -> list[bytes | None]:
        """The encoded pictures of a block, in random order."""
        places = self._order(epoch)[block * BLOCK : (block + 1) * BLOCK]
        contents: list[bytes | None] = []
        for k, group in groupby(places, itemgetter(0)):
            numbers = [number for _, number in group]
            contents += [content for _, content in self._members[k][0].read(numbers)]
        random = np.random.default_rng((self.seed, ORDER, epoch, block))
        return [contents[k] for k in random.permutation(len(contents))]


def _crop(content: bytes | None, target: Target, random: np.random.Generator) -> Pixels:
    """A random part of a picture, [C, H, W]; all of one that is too small, enlarged. Raises what
    Pillow raises if it is damaged."""
    image = open_picture(io.BytesIO(content or b""))
    if min(image.width / target.width, image.height / target.height) < 1:
        image = ImageOps.fit(image.convert("RGB"), (target.width, target.height))
    left = int(random.integers(image.width - target.width + 1))
    top = int(random.integers(image.height - target.height + 1))
    return target.fit(image.crop((left, top, left + target.width, top + target.height)))
