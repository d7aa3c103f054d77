"""Pictures in shards, Parquet or tar archives (WebDataset), read in a stream.

Sets may be larger than a disk: nothing of the training images is cached. A process reads its share
of the shards, one after the other, in an order that the seed and the epoch decide; encoded pictures
wait in a buffer, in which they are shuffled; and each gives a random crop of the flow's size. Which
crop comes when depends on the seed, the number of processes and the place in the stream alone, so a
training that was interrupted goes on with the same batches.

Which pictures are for validation and test, their shard and place decide, as in
`rgflow.data.splitting`: 5 % each.
"""

import io
import tarfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import ImageOps

from rgflow.data import splitting
from rgflow.data.decoding import Target, open_picture
from rgflow.data.images import Array, Pixels
from rgflow.data.source import Chunk, Request, Source, Split, counted, processors, stamp
from rgflow.files import located

SHARDS = {".parquet": "parquet", ".tar": "webdataset"}
"""Endings of shards, and what Hugging Face's `datasets` calls them."""
BUFFER = 512
"""Pictures, encoded, that are shuffled together."""
FEW = 2048
"""Pictures that stand for those of the stream where some are needed: to fit the pixel map."""
PICTURES = {".png", ".jpg", ".jpeg", ".webp"}
"""Endings of pictures inside tar archives."""
ORDER, CROPS = 17, 18
"""What random numbers are for, beside what `rgflow.training.batches` has."""


def rows_of(dataset: Any, name: str) -> Iterator[tuple[str, bytes | None]]:
    """The encoded pictures of a set of Hugging Face's `datasets`, in its first column of images,
    each with its key or number.

    Args:
        dataset: Streamed, or in memory.
        name: Of the set, for messages.

    Raises:
        ValueError: If there is no such column.
    """
    from datasets import Image as Picture

    column = picture_column(dataset.features or {}, name)
    for number, row in enumerate(dataset.cast_column(column, Picture(decode=False))):
        value = row[column] or {}
        content, path = value.get("bytes"), value.get("path")
        if content is None and path:
            content = Path(path).read_bytes()
        yield str(row.get("__key__", number)), content


def picture_column(features: Mapping[str, Any], name: str) -> str:
    """The first column of images of a set with these features.

    Raises:
        ValueError: If there is none.
    """
    from datasets import Image as Picture

    for column, of in features.items():
        if isinstance(of, Picture) or (isinstance(of, dict) and of.keys() == {"bytes", "path"}):
            return column
    raise ValueError(
        f"Expected a column of images, or of bytes and path, in {name}; got "
        f"{', '.join(features) or 'none'}; convert it."
    )


def open_shard(path: Path) -> Any:
    """A shard as a streamed set of Hugging Face's `datasets`; a `ValueError` if that isn't
    installed."""
    try:
        import datasets
    except ImportError as error:
        raise ValueError(
            f"Expected Hugging Face's datasets for {path.name}; it isn't installed: "
            f"pip install 'rgflow[hf]'."
        ) from error
    kind = SHARDS[path.suffix.lower()]
    return datasets.load_dataset(kind, data_files=str(path), split="train", streaming=True)


def source(request: Request) -> Source:
    """Some pictures of `stream:PATH`, cut to size, as asked by `rgflow.data.load`; training reads
    its own in a `Stream`."""
    shards = find_shards(request.argument)
    target = Target.of(request)
    count = request.count or FEW
    kept = [(shard, row) for shard in shards for row in shard.rows(request.split)]
    if not kept:
        raise ValueError(
            f"Expected pictures for the {request.split} split, 5 % of all, in "
            f"{request.argument}; there are none: add pictures."
        )

    def chunks() -> Iterator[Chunk]:
        images: list[Pixels] = []
        for shard in shards:
            read = _Reader(shard)
            for row in shard.rows(request.split)[: count - len(images)]:
                random = np.random.default_rng((request.seed, CROPS, row))
                if (image := _crop(read(row), target, random)) is not None:
                    images.append(image)
            if len(images) >= count:
                break
        if not images:
            raise ValueError(f"Expected readable pictures in {request.argument}; got none.")
        yield Chunk(np.stack(images), {})

    return Source(
        kind=f"stream-{Path(request.argument).stem[:40]}-{request.split}",
        settings={
            "source": "stream",
            "shards": [(str(shard.path), *stamp(shard.path)) for shard in shards],
            "shape": target.shape,
            "crop": target.crop,
            "split": request.split,
            "seed": request.seed,
            "version": 1,
        },
        count=min(count, len(kept)),
        chunks=lambda: counted(chunks(), total=count, title="Decoding", progress=request.progress),
    )


def find_shards(name: str) -> list["Shard"]:
    """The shards in a folder, or a single one, in the order of their names.

    Raises:
        FileNotFoundError: If it isn't there.
        ValueError: If there are none.
    """
    path = located(name)
    if not path.exists():
        raise FileNotFoundError(f"Expected a folder of shards after stream:; {path} isn't there.")
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    found = [Shard(file) for file in files if file.suffix.lower() in SHARDS]
    if not found:
        raise ValueError(f"Expected .parquet or .tar files in {path}; there are none.")
    return found


@dataclass(frozen=True)
class Shard:
    """A file of pictures.

    Attributes:
        path: Of the file.
    """

    path: Path

    @cached_property
    def size(self) -> int:
        """How many pictures there are, which takes reading what is before and between them only."""
        if self.path.suffix.lower() == ".parquet":
            from pyarrow import parquet

            return int(parquet.ParquetFile(self.path).metadata.num_rows)
        with tarfile.open(self.path) as archive:
            names = [PurePosixPath(one.name) for one in archive if one.isfile()]
        return sum(name.suffix.lower() in PICTURES for name in names)

    def rows(self, split: Split) -> list[int]:
        """The places of the pictures of a split."""
        bounds = {"train": (0.0, 0.9), "validation": (0.9, 0.95), "test": (0.95, 1.0)}[split]
        places = (splitting.place(f"{self.path.name}#{row}") for row in range(self.size))
        return [row for row, at in enumerate(places) if bounds[0] <= at < bounds[1]]


class _Reader:
    """The encoded pictures of a shard, at places that rise."""

    def __init__(self, shard: Shard) -> None:
        self.shard, self.at = shard, 0
        self._contents = rows_of(open_shard(shard.path), str(shard.path))

    def __call__(self, row: int) -> bytes | None:
        skipped, self.at = row - self.at, row + 1
        return next(islice(self._contents, skipped, None), ("", None))[1]


@dataclass(eq=False)
class Stream:
    """Random crops of the training pictures of shards, without an end.

    Args:
        name: Of the folder, or of a shard.
        target: Size and colours of the crops.
        seed: Of order and crops.
        rank: This process, which has every `world`-th shard, or every `world`-th picture where
            there are fewer shards than processes.
        world: Number of processes.

    Raises:
        FileNotFoundError: If there are no shards.
        ValueError: If there are no pictures for this process.
    """

    name: str
    target: Target
    seed: int = 0
    rank: int = 0
    world: int = 1
    _places: list[tuple[Shard, int]] = field(default_factory=list, repr=False)
    _block: tuple[int, int] = field(default=(-1, -1), repr=False)
    _contents: list[bytes | None] = field(default_factory=list, repr=False)
    _reader: _Reader | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        shards = find_shards(self.name)
        whole = len(shards) >= self.world
        mine = shards[self.rank :: self.world] if whole else shards
        self._rows = {shard: shard.rows("train") for shard in mine}
        if not whole:
            self._rows = {
                shard: rows[self.rank :: self.world] for shard, rows in self._rows.items()
            }
        if not any(self._rows.values()):
            raise ValueError(
                f"Expected training pictures in {self.name} for each of {self.world} processes; "
                f"process {self.rank} has none: make more shards, or start fewer processes."
            )

    def __len__(self) -> int:
        """Pictures of an epoch."""
        return sum(map(len, self._rows.values()))

    def __call__(self, first: int, count: int) -> Array:
        """Crops of all processes' batches, of which this one's are asked for, [count, C, H, W].

        Args:
            first: The number of the first one, over all processes.
            count: How many: the same share of each batch in each process.
        """
        mine = (first - self.rank * count) // self.world
        with ThreadPoolExecutor(processors()) as pool:
            return np.stack(list(pool.map(self._image, self._wanted(mine, count))))

    def _wanted(self, first: int, count: int) -> list[tuple[int, list[bytes | None]]]:
        """Numbers of crops, each with the encoded picture, and those to take if that is damaged."""
        found = []
        for number in range(first, first + count):
            epoch, place = divmod(number, len(self))
            block, inside = divmod(place, BUFFER)
            contents = self._shuffled(epoch, block)
            found.append((number, contents[inside:] + contents[:inside]))
        return found

    def _image(self, wanted: tuple[int, list[bytes | None]]) -> Pixels:
        number, contents = wanted
        random = np.random.default_rng((self.seed, CROPS, self.rank, number))
        for content in contents:
            if (image := _crop(content, self.target, random)) is not None:
                return image
        raise ValueError(f"Expected readable pictures in {self.name}; got {BUFFER} damaged ones.")

    def _shuffled(self, epoch: int, block: int) -> list[bytes | None]:
        """The pictures in the buffer, in their random order."""
        if self._block != (epoch, block):
            if not self._places or self._block[0] != epoch:
                order = np.random.default_rng((self.seed, ORDER, epoch)).permutation(
                    len(self._rows)
                )
                shards = list(self._rows)
                self._places = [(shards[k], row) for k in order for row in self._rows[shards[k]]]
            contents = []
            for shard, row in self._places[block * BUFFER : (block + 1) * BUFFER]:
                reader = self._reader
                if reader is None or reader.shard != shard or reader.at > row:
                    reader = self._reader = _Reader(shard)
                contents.append(reader(row))
            random = np.random.default_rng((self.seed, ORDER, epoch, block))
            self._contents = [contents[k] for k in random.permutation(len(contents))]
            self._block = epoch, block
        return self._contents


def _crop(content: bytes | None, target: Target, random: np.random.Generator) -> Pixels | None:
    """A random part of a picture, [C, H, W]; all of one that is too small, enlarged; none: it can't
    be read."""
    try:
        image = open_picture(io.BytesIO(content or b""))
    except Exception:  # the only class Pillow's errors have in common
        return None
    if min(image.width / target.width, image.height / target.height) < 1:
        image = ImageOps.fit(image.convert("RGB"), (target.width, target.height))
    left = int(random.integers(image.width - target.width + 1))
    top = int(random.integers(image.height - target.height + 1))
    return target.fit(image.crop((left, top, left + target.width, top + target.height)))
