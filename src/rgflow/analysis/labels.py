"""What is known about images beside their pixels: labels, each with one number per image.

Letters in shapes: N images; T numbers that a probe predicts for a label, 2 of an angle.
"""

import csv
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["number", "binary", "angle"]
Box = tuple[int, int, int, int]
"""(y, x, height, width) of a rectangle of pixels."""

CLASSES = 50
"""Whole numbers with at most so many values are classes, each of which makes a binary label."""
TILE = 8
"""Edge of an oval's tile in MSDS."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Label:
    """One label.

    Attributes:
        name: What it's called.
        values: Its values, [N]; of a binary label 0 and 1, of an angle degrees.
        kind: An angle is that of an axis, the same after 180°.
        group: What it's a part of, a row in tables: red of `base colour`.
        box: The part of the image that it's about; none: the whole image.
    """

    name: str
    values: NDArray[np.float64]
    kind: Kind = "number"
    group: str
    box: Box | None = None

    @cached_property
    def targets(self) -> NDArray[np.float64]:
        """What a probe predicts, [N, T]: the values, or (cos 2θ, sin 2θ)."""
        if self.kind != "angle":
            return self.values[:, None]
        twice = np.deg2rad(2 * self.values)
        return np.stack((np.cos(twice), np.sin(twice)), 1)


def labels_of(known: Mapping[str, NDArray[Any]]) -> list[Label]:
    """The labels of a data set, as `rgflow.data.load(...).labels` holds them.

    Those of MSDS become its factors: the base of an image, and of every oval what it deviates from
    the base, its angle, and its jitter. Classes become a binary label each. Labels that are the
    same for all images say nothing and are left out.

    Args:
        known: By name, each [N, ...].

    Example:
        >>> found = labels_of({"class": np.array([3, 5, 7]), "smiling": np.array([-1, 1, 1])})
        >>> [(label.name, label.kind, label.values.tolist()) for label in found[2:]]
        [('class 7', 'binary', [0.0, 0.0, 1.0]), ('smiling', 'binary', [0.0, 1.0, 1.0])]
    """
    if "ovals" in known:
        return list(_msds(known))
    found = []
    for name, values in known.items():
        columns = values.reshape(len(values), -1).T
        for k, column in enumerate(columns):
            found += _made(f"{name} {k}" if len(columns) > 1 else name, column)
    return found


def _made(name: str, values: NDArray[Any]) -> list[Label]:
    """One label; of classes one each; of equal values none."""
    distinct = np.unique(values)
    if len(distinct) < 2:
        return []
    numbers = values.astype(np.float64)
    if len(distinct) == 2:
        ones = (values == distinct[1]).astype(np.float64)
        return [Label(name=name, values=ones, kind="binary", group=name)]
    if not np.issubdtype(values.dtype, np.integer) or len(distinct) > CLASSES:
        return [Label(name=name, values=numbers, group=name)]
    return [
        Label(
            name=f"{name} {value}",
            values=(values == value).astype(np.float64),
            kind="binary",
            group=name,
        )
        for value in distinct.tolist()
    ]


def _msds(known: Mapping[str, NDArray[Any]]) -> Iterator[Label]:
    """The factors of MSDS (paper, section 4.1 and Appendix B)."""
    ovals = known["ovals"].astype(np.float64)
    base_colour, base_angle = np.zeros((len(ovals), 3)), np.zeros(len(ovals))
    colour, angle = "colour", "angle"
    if "base_colour" in known:
        base_colour, colour = known["base_colour"].astype(np.float64), "colour less base"
        for name, values in zip(("red", "green", "blue"), base_colour.T, strict=True):
            yield Label(name=f"base {name}", values=values, group="base colour")
    if "base_angle" in known:
        base_angle, angle = known["base_angle"].astype(np.float64), "angle less base"
        yield Label(name="base angle", values=base_angle, kind="angle", group="base angle")
    for i in range(ovals.shape[1]):
        for j in range(ovals.shape[2]):
            x, y, degrees, *rgb = ovals[:, i, j].T
            of, box = f"of oval {i},{j}", (TILE * j, TILE * i, TILE, TILE)
            for k, name in enumerate(("red", "green", "blue")):
                values = rgb[k] - base_colour[:, k]
                yield Label(name=f"{name} {of}", values=values, group=colour, box=box)
            values = degrees - base_angle
            yield Label(name=f"angle {of}", values=values, kind="angle", group=angle, box=box)
            for name, place, tile in (("x", x, TILE * i), ("y", y, TILE * j)):
                yield Label(name=f"{name} {of}", values=place - tile, group="jitter", box=box)


def spread(labels: Sequence[Label], places: int) -> list[Label]:
    """The labels of the whole image, and those of so many places, evenly spread over all."""
    boxes = list(dict.fromkeys(label.box for label in labels if label.box))
    if len(boxes) > places:
        boxes = [boxes[(2 * k + 1) * len(boxes) // (2 * places)] for k in range(places)]
    return [label for label in labels if label.box is None or label.box in boxes]


# ---------------------------------------------------------------- CSV files


def read_csv(
    path: str | Path,
    images: int,
    files: Sequence[str] | None = None,
    others: Collection[str] = (),
) -> list[Label]:
    """Labels from a CSV file: a line with their names, then a row of numbers for every image.

    If the first value of the first row isn't a number, the first column holds file names;
    otherwise the rows are in the order of the images, and those beyond the last image are left out.

    Args:
        path: The file.
        images: The number of images N.
        files: The file name of every image, if they have any.
        others: File names that may stand in the file, but aren't wanted.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it isn't as described, a row is missing, or a label is the same in all rows.
    """
    path = Path(path).expanduser()
    header, rows = _table(path)
    if not _is_number(rows[0][0]):
        rows = _by_name(path, header, rows, images, files, others)
        header = header[1:]
    elif len(rows) < images:
        raise ValueError(
            f"Expected {images} rows in {path}, one per image; got {len(rows)}: add those that are "
            f"missing, or analyse fewer images."
        )
    labels = []
    for k, name in enumerate(header):
        values = np.array([_number(path, name, n, row[k]) for n, row in enumerate(rows[:images])])
        if len(np.unique(values)) < 2:
            raise ValueError(
                f"Expected labels that differ between images; column {name!r} of {path} is "
                f"{values[0]:g} for each of {images} images: leave it out."
            )
        labels += _made(name, values)
    return labels


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names in the first line, and the rows, all of the same length."""
    if not path.is_file():
        raise FileNotFoundError(f"Expected a CSV file with labels; there is none at {path}.")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (UnicodeError, csv.Error) as error:
        raise ValueError(f"Expected a CSV file in UTF-8; {path} isn't one ({error}).") from error
    if len(lines) < 2:
        raise ValueError(
            f"Expected a line with names and a row per image in {path}; got {len(lines)} lines."
        )
    header, *rows = lines
    if any(map(_is_number, header)):
        raise ValueError(
            f"Expected the names of the labels in the first line of {path}; got "
            f"{', '.join(header)[:60]}: add a line with names."
        )
    twice = [name for k, name in enumerate(header) if not name or name in header[:k]]
    if twice:
        raise ValueError(
            f"Expected a name of its own for every column of {path}; got {twice[0]!r} again or "
            f"empty: rename it."
        )
    for n, row in enumerate(rows):
        if len(row) != len(header):
            raise ValueError(
                f"Expected {len(header)} values in every row of {path}, as in its first line; got "
                f"{len(row)} in row {n + 1}."
            )
    return header, rows


def _by_name(
    path: Path,
    header: list[str],
    rows: list[list[str]],
    images: int,
    files: Sequence[str] | None,
    others: Collection[str],
) -> list[list[str]]:
    """The rows in the order of the images, without the file names."""
    if len(header) < 2:
        raise ValueError(f"Expected labels beside the file names in {path}; got no column of them.")
    if files is None:
        raise ValueError(
            f"Expected rows in the order of the images in {path}, as these have no file names; got "
            f"{rows[0][0]!r} in the first row: leave out the column {header[0]!r}."
        )
    by_name: dict[str, list[str]] = {}
    known = {*files, *others}
    for name, *values in rows:
        if name not in known:
            raise ValueError(
                f"Expected the names of images in column {header[0]!r} of {path}; got {name!r}, "
                f"which is none of them (such as {files[0]!r})."
            )
        if name in by_name:
            raise ValueError(f"Expected one row per image in {path}; got two of {name!r}.")
        by_name[name] = values
    missing = [name for name in files if name not in by_name]
    if missing:
        more = f" and {len(missing) - 1} more of {images} images" if len(missing) > 1 else ""
        raise ValueError(
            f"Expected a row for every image in {path}; got none for {missing[0]!r}{more}."
        )
    return [by_name[name] for name in files]


def _number(path: Path, name: str, n: int, text: str) -> float:
    """The number that a text is."""
    if not _is_number(text) or not math.isfinite(float(text)):
        raise ValueError(
            f"Expected a number in every row of column {name!r} of {path}; got {text[:40]!r} for "
            f"image {n + 1}."
        )
    return float(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
