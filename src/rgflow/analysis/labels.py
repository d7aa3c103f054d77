"""What is known about images beside their pixels: labels, each with one number per image.

Letters in shapes: N images; T numbers that a probe predicts for a label, 2 of an angle.
"""

import csv
import io
import math
from collections.abc import Collection, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.stats import qmc

from rgflow.checks import check_name
from rgflow.files import expanded
from rgflow.reading import DamagedError, read_text

Kind = Literal["number", "binary", "angle"]
Declared = Literal["number", "class", "angle"]
"""What the values of a label may be declared as."""
Box = tuple[int, int, int, int]
"""(y, x, height, width) of a rectangle of pixels."""

MAX_CLASSES = 50
"""Maximum number of classes that become binary labels; more are names of single things."""
CLASS_NAMES = ("class", "classes", "label", "labels", "chair", "photograph", "id")
"""Last words of label names whose values are classes rather than numbers."""
MAX_CHARACTERS = 500
"""Longest name or value in a file."""
OVAL_TILE = 8
"""Edge of an oval's tile in MSDS, in pixels."""
MIN_IMAGES = 8
"""Minimum number of images, and of images with and without a binary label, for an analysis."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Label:
    """One label.

    Attributes:
        name: Its name.
        values: [N]: 0 and 1 of a binary label, degrees of an angle.
        kind: Number, binary, or the angle of an axis, which is the same after 180°.
        group: The group that it belongs to, a row in tables: `base colour` for base red.
        box: The part of the image that it describes; none: the whole image.
    """

    name: str
    values: NDArray[np.float64]
    kind: Kind = "number"
    group: str
    box: Box | None = None

    @cached_property
    def targets(self) -> NDArray[np.float64]:
        """The numbers that a probe predicts, [N, T]: the values, or (cos 2θ, sin 2θ)."""
        if self.kind != "angle":
            return self.values[:, None]
        twice = np.deg2rad(2 * self.values)
        return np.stack((np.cos(twice), np.sin(twice)), 1)

    @property
    def common(self) -> bool:
        """Whether enough images have and lack a binary label; true for other labels."""
        ones = self.values.sum()
        return self.kind != "binary" or bool(MIN_IMAGES <= ones <= len(self.values) - MIN_IMAGES)


def labels_of(known: Mapping[str, NDArray[Any]]) -> list[Label]:
    """Labels from those of a data set, `rgflow.data.load(...).labels`.

    Those of MSDS become its factors: the base of an image, and of every oval its deviation from the
    base, its angle, and its jitter. Classes, recognised by the name of the label, become a binary
    label each. Left out are more than 50 classes, and labels that are the same for all images.

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
            found += _made(f"{name} {k}" if len(columns) > 1 else name, column, _usual(name))
    return found


def _usual(name: str) -> Declared:
    """The default type of the values of a label with this name."""
    return "class" if name.lower().replace("_", " ").split(" ")[-1] in CLASS_NAMES else "number"


def _made(name: str, values: NDArray[Any], declared: Declared) -> list[Label]:
    """Labels made from one column: none if it is constant or has too many classes; one for a binary
    column; otherwise one per class."""
    distinct = np.unique(values).tolist()
    if len(distinct) < 2 or (declared == "class" and len(distinct) > MAX_CLASSES):
        return []
    if declared == "class":
        classes = distinct[1:] if len(distinct) == 2 else distinct
        ones = {f"{name} {value}": values == value for value in classes}
    elif declared == "number" and len(distinct) == 2:
        ones = {name: values == distinct[1]}
    else:
        numbers = values.astype(np.float64)
        numbers = numbers % 180 if declared == "angle" else numbers
        return [Label(name=name, values=numbers, kind=declared, group=name)]
    return [
        Label(name=one, values=is_so.astype(np.float64), kind="binary", group=name)
        for one, is_so in ones.items()
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
            of, box = f"of oval {i},{j}", (OVAL_TILE * j, OVAL_TILE * i, OVAL_TILE, OVAL_TILE)
            for k, name in enumerate(("red", "green", "blue")):
                values = rgb[k] - base_colour[:, k]
                yield Label(name=f"{name} {of}", values=values, group=colour, box=box)
            values = degrees - base_angle
            yield Label(name=f"angle {of}", values=values, kind="angle", group=angle, box=box)
            for name, place, tile in (("x", x, OVAL_TILE * i), ("y", y, OVAL_TILE * j)):
                yield Label(name=f"{name} {of}", values=place - tile, group="jitter", box=box)


def check_labels(images: Sized, labels: Sequence[Label]) -> None:
    """Check that there are labels, and one finite value of each per image.

    Raises:
        ValueError: If not, or if there are fewer than 8 images.
    """
    if not labels:
        raise ValueError("Expected at least one label that differs between images; got none.")
    if len(images) < MIN_IMAGES:
        raise ValueError(f"Expected at least {MIN_IMAGES} images; got {len(images)}.")
    for label in labels:
        if label.values.shape != (len(images),):
            raise ValueError(
                f"Expected {len(images)} values of label {label.name!r}, one per image; got shape "
                f"{list(label.values.shape)}."
            )
        if not np.isfinite(label.values).all():
            raise ValueError(
                f"Expected finite values of label {label.name!r}; got NaN or infinite ones: leave "
                f"it out, or these images."
            )


def spread(labels: Sequence[Label], places: int) -> list[Label]:
    """The labels of the whole image, and those of at most `places` places spread evenly over it.

    These are the places nearest to the points of a Hammersley set: of 4 × 4 ovals, four are one of
    each row and each column, eight a chessboard.
    """
    boxes = list(dict.fromkeys(label.box for label in labels if label.box))
    if len(boxes) > places:
        corners = np.array(boxes, np.float64)
        middles = corners[:, :2] + corners[:, 2:] / 2
        extent = (corners[:, :2] + corners[:, 2:]).max(0)
        steps = (np.arange(places) + 0.5) / places
        halves = qmc.Halton(1, scramble=False).random(places)[:, 0]
        halves += 0.5 ** (1 + math.ceil(math.log2(places)))
        chosen: list[int] = []
        for point in np.stack((steps, halves), 1) * extent:
            far = ((middles - point) ** 2).sum(1)
            far[chosen] = np.inf
            chosen.append(int(far.argmin()))
        boxes = [boxes[k] for k in sorted(chosen)]
    return [label for label in labels if label.box is None or label.box in boxes]


# ---------------------------------------------------------------- CSV files


def read_csv(
    path: str | Path,
    images: int,
    files: Sequence[str] | None = None,
    others: Collection[str] = (),
    numbers: Sequence[int] | None = None,
) -> list[Label]:
    """Labels from a CSV file: a line with their names, then a row of values for every image.

    If the first value of the first row isn't a number, the first column holds file names;
    otherwise row n belongs to image n, and rows of other images are left out. Values are numbers,
    unless the header says otherwise: `tilt:angle` are degrees of an axis, the same after 180°, and
    `hair:class` are names of classes, text or numbers, as in a column called `class`.

    Args:
        path: The file.
        images: The number of images N.
        files: The file name of every image, if they have any.
        others: Further file names that the file may have.
        numbers: The number of every image, from 0 on; none: they are in order.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it isn't as described, a row is missing, a label is the same in all rows, or
            has too many classes.
    """
    path = expanded(path)
    header, rows = _table(path)
    if not header[0].endswith(":class") and not _is_number(rows[0][0]):
        rows = _by_name(path, header, rows, files, others)
        header = header[1:]
    elif files:
        raise _wrong(
            path,
            "the names of the files in the first column, as files have no other order,",
            f"{rows[0][0]}: add that column",
        )
    else:
        wanted = range(images) if numbers is None else numbers[:images]
        if len(rows) <= (last := max(wanted)):
            raise _wrong(
                path,
                f"at least {last + 1} rows, one per image,",
                f"{len(rows)}: add those that are missing, or analyse fewer images",
            )
        rows = [rows[n] for n in wanted]
    return [
        label
        for column, texts in zip(header, zip(*rows, strict=True), strict=True)
        for label in _labels_of_column(path, column, texts)
    ]


def _labels_of_column(path: Path, column: str, texts: Sequence[str]) -> list[Label]:
    name, colon, kind = column.rpartition(":")
    name, declared = (name, cast(Declared, kind)) if colon else (column, _usual(column))
    check_name(f"what follows the colon of column {column!r}", declared, get_args(Declared))
    what, fits = ("class", bool) if declared == "class" else ("number", _is_finite)
    for row, text in enumerate(texts, 1):
        if not fits(text):
            place = f"a {what} in every row of column {name!r}"
            raise _wrong(path, place, f"{text[:40]!r} for image {row}")
    values = np.array(texts if declared == "class" else list(map(float, texts)))
    distinct = len(np.unique(values))
    if distinct < 2:
        raise _wrong(
            path,
            f"labels that differ between images in column {name!r}",
            f"{texts[0]} for each of {len(texts)} images: leave it out",
        )
    if declared == "class" and distinct > MAX_CLASSES:
        raise _wrong(
            path,
            f"at most {MAX_CLASSES} classes in column {name!r}",
            f"{distinct}: leave it out, or name it '{name}:number' if these are numbers",
        )
    return _made(name, values, declared)


def _wrong(path: Path, expected: str, got: str) -> ValueError:
    return ValueError(f"Expected {expected} of {path}; got {got}.")


def _table(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names in the first line, and the rows, all of the same length."""
    try:
        file = io.StringIO(read_text(path, what="a CSV file with labels"), newline="")
        lines = [[cell.strip() for cell in row] for row in csv.reader(file) if row]
    except (DamagedError, csv.Error) as error:
        raise ValueError(f"Expected a CSV file in UTF-8; {path} isn't one ({error}).") from error
    if any(len(cell) > MAX_CHARACTERS for row in lines for cell in row):
        raise ValueError(
            f"Expected names and values of at most {MAX_CHARACTERS} characters in {path}."
        )
    header, rows = lines[0] if lines else [], lines[1:]
    if not rows:
        problem = f"{len(lines)} lines"
    elif any(map(_is_number, header)):
        problem = f"{', '.join(header)[:60]} as names"
    elif twice := [name for k, name in enumerate(header) if not name or name in header[:k]]:
        problem = f"the name {twice[0]!r} again or empty"
    elif ragged := [n for n, row in enumerate(rows, 1) if len(row) != len(header)]:
        problem = f"{len(rows[ragged[0] - 1])} values instead of {len(header)} in row {ragged[0]}"
    else:
        return header, rows
    raise _wrong(path, "a line with different names, and a row of values for every image,", problem)


def _by_name(
    path: Path,
    header: list[str],
    rows: list[list[str]],
    files: Sequence[str] | None,
    others: Collection[str],
) -> list[list[str]]:
    """The rows in the order of the images, without the file names."""
    if len(header) < 2:
        raise _wrong(path, "labels beside the file names", "no column of them")
    if files is None:
        raise _wrong(
            path,
            "rows in the order of the images, as these have no file names,",
            f"{rows[0][0]!r} in the first row: leave out the column {header[0]!r}",
        )
    names = [row[0] for row in rows]
    by_name = {name: values for name, *values in rows}
    if len(by_name) < len(rows):
        twice = next(name for k, name in enumerate(names) if name in names[:k])
        raise _wrong(path, "one row per image", f"two of {twice!r}")
    if unknown := by_name.keys() - {*files, *others}:
        raise _wrong(
            path,
            f"the names of images in column {header[0]!r}",
            f"{min(unknown)!r}, which is none of them (such as {files[0]!r})",
        )
    if missing := [name for name in files if name not in by_name]:
        more = f" and {len(missing) - 1} more of {len(files)} images" if len(missing) > 1 else ""
        raise _wrong(path, "a row for every image", f"none for {missing[0]!r}{more}")
    return [by_name[name] for name in files]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_finite(text: str) -> bool:
    return _is_number(text) and math.isfinite(float(text))
