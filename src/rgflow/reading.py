"""Files from anybody: whole and well-formed, or refused, in bounded time and memory.

Nothing here runs code, and nothing is allocated because a file says so: what a header claims is
compared with the size of the file first.
"""

import itertools
import json
import math
import os
import re
import stat
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from errno import ELOOP, ENAMETOOLONG, ENOENT, ENOTDIR, ENXIO
from functools import cache
from io import BufferedReader
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, TypeVar

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from rgflow.checks import short

MAX_JSON_BYTES, MAX_YAML_BYTES, MAX_TABLE_BYTES = 1 << 24, 1 << 18, 1 << 28
"""Sizes of a JSON file, a YAML file, and a text file with a row per image; each is many times what
the package writes."""
MAX_YAML_VALUES = 100_000
"""Values in a YAML file, including those that its aliases stand for, which grow exponentially."""
MAX_NESTING = 64
"""Lists and dictionaries within one another; Python's recursion ends at about 1000."""
MAX_DEFLATE_RATIO = 1032
"""Bytes that deflate makes of one; the format allows no more."""
MAX_AXES, MAX_HEADER_BYTES = 8, 1 << 16
"""Axes of an array, and bytes of the header of its file."""

T = TypeVar("T")


class DamagedError(ValueError):
    """A file that doesn't hold what it should: cut short, overwritten, or of another kind."""


@contextmanager
def opened(path: Path, what: str = "a file") -> Iterator[BufferedReader]:
    """A file for reading: a regular one, as reading from a pipe may never end, or one of an object
    store.

    Args:
        path: The file.
        what: What it should be, for the sentence that says it isn't there.

    Raises:
        FileNotFoundError: If it isn't there.
        PermissionError: If it may not be read.
        DamagedError: If it isn't a regular file.

    Example:
        >>> with opened(Path("/")) as file:
        ...     pass
        Traceback (most recent call last):
        ...
        rgflow.reading.DamagedError: Expected a file; / is a folder.
    """
    if "://" in str(path):
        try:
            file = path.open("rb")
        except Exception as error:  # of the store's own library
            if isinstance(error, FileNotFoundError):
                raise FileNotFoundError(f"Expected {what}; there is none at {path!s}.") from error
            raise OSError(f"Expected to read {path!s}; it can't be ({reason(error)}).") from error
        with file:
            yield file
        return
    try:
        # Without O_NONBLOCK, opening a pipe that nobody writes to would block.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except PermissionError as error:
        raise PermissionError(
            f"Expected a file that may be read; {path} may not be: change its permissions."
        ) from error
    except (ValueError, OSError) as error:
        # Or a null character in the name, a circle of links, a name that is too long.
        missing = (ENOENT, ELOOP, ENAMETOOLONG, ENOTDIR)
        if isinstance(error, OSError) and error.errno == ENXIO:
            raise DamagedError(f"Expected a file; {path} is a socket.") from error
        if isinstance(error, OSError) and error.errno not in missing:
            raise
        raise FileNotFoundError(f"Expected {what}; there is none at {path!s}.") from error
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        kind = "a folder" if stat.S_ISDIR(mode) else "a pipe or a device"
        raise DamagedError(f"Expected a file; {path} is {kind}.")
    with os.fdopen(handle, "rb") as file:
        yield file


def read(path: Path, most: int, what: str = "a file") -> bytes:
    """The bytes of a file, of which `what` is as for `opened`.

    Raises:
        DamagedError: If there are more than `most`; besides as `opened` does.
    """
    with opened(path, what) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        content = file.read(min(size, most) + 1)
    if len(content) > most:
        raise DamagedError(f"Expected at most {most:,} bytes; {path} has more.")
    return content


def read_text(path: Path, most: int = MAX_TABLE_BYTES, what: str = "a file") -> str:
    """The text of a file in UTF-8, of which `what` is as for `opened`.

    Raises:
        DamagedError: If it isn't UTF-8; besides as `read` does.
    """
    try:
        return read(path, most, what).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DamagedError(
            f"Expected text in UTF-8; {path} holds something else ({error})."
        ) from error


# ---------------------------------------------------------------- JSON and YAML


def json_in(text: str | bytes, *, finite: bool = False) -> Any:
    """The value that JSON stands for; of integers, those of 64 bits.

    Args:
        text: The JSON.
        finite: Whether to refuse infinite numbers and NaN, which Python takes for JSON.

    Raises:
        DamagedError: If it isn't JSON, is nested too deeply, or has other numbers.

    Example:
        >>> json_in("[1, 2]")
        [1, 2]
        >>> json_in("[" * 100_000)
        Traceback (most recent call last):
        ...
        rgflow.reading.DamagedError: it is nested more than 64 deep
    """
    if len(text) > MAX_JSON_BYTES:
        raise DamagedError(f"it has more than {MAX_JSON_BYTES:,} bytes")
    too_deep = DamagedError(f"it is nested more than {MAX_NESTING} deep")
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise too_deep from error
    except ValueError as error:
        raise DamagedError(reason(error)) from error
    level = [value]
    for _ in range(MAX_NESTING + 1):
        for one in level:
            # Beyond 64 bits arithmetic with floats may fail.
            if isinstance(one, int) and not -(2**63) <= one < 2**64:
                raise DamagedError(f"it holds the number {short(one)}")
            if finite and isinstance(one, float) and not math.isfinite(one):
                raise DamagedError(f"it holds the number {one}")
        level = [one for one in level if isinstance(one, dict | list)]
        if not level:
            return value
        inner = (one.values() if isinstance(one, dict) else one for one in level)
        level = list(itertools.chain.from_iterable(inner))
    raise too_deep


def read_json(path: Path, what: str, most: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """The JSON object in a file.

    Args:
        path: The file.
        what: What it should be, for the sentence that says it isn't: `the card of a model`.
        most: Bytes at the most.

    Raises:
        DamagedError: If it holds something else; besides as `opened` does.
    """
    return _names_and_values(path, what, json_in, most)


def read_lines(path: Path, what: str, most: int = MAX_TABLE_BYTES) -> list[dict[str, Any]]:
    """The JSON objects in the lines of a file of our own; one that a crash has cut off, the last,
    is left out.

    Raises:
        DamagedError: If another line holds something else; besides as `opened` does.
    """
    *lines, _ = read_text(path, most).split("\n")
    found = []
    for line in lines:
        try:
            value = json_in(line)
            if not isinstance(value, dict):
                raise DamagedError(f"it holds {short(value)}")
        except DamagedError as error:
            raise DamagedError(
                f"Expected {what}; {path} is damaged ({reason(error)}): move it away."
            ) from error
        found.append(value)
    return found


def _names_and_values(
    path: Path, what: str, value_in: Callable[[str], Any], most: int
) -> dict[str, Any]:
    """What a file holds, if these are names and values."""
    try:
        value = value_in(read_text(path, most, what))
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise DamagedError(f"it holds {short(value)} instead of names and values")
    except DamagedError as error:
        raise DamagedError(f"Expected {what}; {path} is damaged ({reason(error)}).") from error
    return value


def yaml_in(text: str) -> Any:
    """The value that YAML stands for.

    Raises:
        DamagedError: If it isn't YAML, is nested too deeply, names a type of Python, or makes much
            of little by aliases.

    Example:
        >>> yaml_in("a: &x [1, null]\\nb: *x")
        {'a': [1, None], 'b': [1, None]}
        >>> yaml_in("a: &x [*x]")
        Traceback (most recent call last):
        ...
        rgflow.reading.DamagedError: the alias *x stands for something that contains it
    """
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_yaml(yaml.parse(text, Loader=loader))
        return yaml.load(text, Loader=loader)
    except DamagedError:
        raise
    except Exception as error:  # its constructors raise whatever Python's own types raise
        raise DamagedError(reason(error)) from error


def _check_yaml(events: Iterable[yaml.Event]) -> None:
    """Count values, those that aliases stand for included, and lists within one another."""
    sizes = dict[str, int]()
    within, names = [0], list[str | None]()  # values so far in each open list, and its anchor
    for event in events:
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise DamagedError(
                    f"the alias *{event.anchor} stands for something that contains it"
                )
            within[-1] += sizes[event.anchor]
        elif isinstance(event, yaml.CollectionStartEvent):
            within.append(1)
            names.append(event.anchor)
        elif isinstance(event, yaml.CollectionEndEvent):
            size, name = within.pop(), names.pop()
            within[-1] += size
            if name:
                sizes[name] = size
        elif isinstance(event, yaml.ScalarEvent):
            within[-1] += 1
            if event.anchor:
                sizes[event.anchor] = 1
        if len(names) > MAX_NESTING:
            raise DamagedError(f"it is nested more than {MAX_NESTING} deep")
        if within[-1] > MAX_YAML_VALUES:
            raise DamagedError(f"it stands for more than {MAX_YAML_VALUES:,} values")


def read_yaml(path: Path, what: str) -> dict[str, Any]:
    """The settings in a YAML file, names and values; arguments and errors are those of
    `read_json`."""
    return _names_and_values(path, what, yaml_in, MAX_YAML_BYTES)


def instance(kind: type[T], values: Any) -> T:
    """A dataclass from its values as JSON holds them, each of the type that its field says.
    Values without a field, which another version may have written, are passed over.

    Raises:
        DamagedError: If a value is missing or of another type.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass(kw_only=True)
        ... class Point:
        ...     x: int
        ...     name: str | None = None
        >>> instance(Point, {"x": 3}).x
        3
        >>> instance(Point, {"x": "3"})
        Traceback (most recent call last):
        ...
        rgflow.reading.DamagedError: x of Point is '3'
    """
    try:
        # Of JSON, pydantic takes lists for tuples and objects for dataclasses, and nothing else.
        text = json.dumps(values, allow_nan=False)
        found: T = _adapter(kind).validate_json(text, strict=True)  # type: ignore[arg-type]
        return found
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(map(str, first["loc"]))
        if first["type"] == "value_error":
            raise DamagedError(reason(first["ctx"]["error"])) from None
        if first["type"] == "missing":
            raise DamagedError(f"{kind.__name__} lacks {name}") from None
        of = f"{name} of {kind.__name__}" if name else kind.__name__
        raise DamagedError(f"{of} is {short(first['input'])}") from None
    except (TypeError, ValueError) as error:
        raise DamagedError(f"{kind.__name__} is {short(values)} ({reason(error)})") from error


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def reason(error: Exception) -> str:
    """What an error of a library says, in one line of a moderate length.

    Example:
        >>> reason(ValueError("two\\nlines."))
        'two lines'
    """
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return text if len(text) <= 300 else f"{text[:299]}…"


# ---------------------------------------------------------------- arrays and archives


class Npy(NamedTuple):
    """The header of a `.npy` file."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    order: Literal["C", "F"]
    offset: int
    """Where its numbers begin."""


def npy_header(file: IO[bytes], size: int) -> Npy:
    """Read the header of a `.npy` file of numbers.

    Args:
        file: The file, at its beginning.
        size: Bytes of the file.

    Raises:
        DamagedError: If it is none, or its size isn't what the header claims.
    """
    start = file.read(8)
    if start[:6] != b"\x93NUMPY" or start[6:] not in (b"\x01\x00", b"\x02\x00", b"\x03\x00"):
        raise DamagedError("it doesn't begin as a .npy file")
    length = file.read(2 if start[6] == 1 else 4)
    held = int.from_bytes(length, "little")
    if held > MAX_HEADER_BYTES:
        raise DamagedError(f"its header claims {held:,} bytes")
    text = file.read(held).decode("latin-1")
    # Not as Python, which the header is written in: that could be anything.
    kind = re.search(r"""['"]descr['"]\s*:\s*['"]([<>|=]?[?a-zA-Z]\d{0,4})['"]""", text)
    order = re.search(r"""['"]fortran_order['"]\s*:\s*(True|False)\b""", text)
    shape = re.search(r"""['"]shape['"]\s*:\s*\(([\d,\s]{0,200})\)""", text)
    if not (kind and order and shape):
        raise DamagedError(f"its header isn't that of an array of numbers: {short(text.strip())}")
    try:
        dtype = np.dtype(kind[1])
    except (TypeError, ValueError) as error:
        raise DamagedError(f"its header names no type of numbers: {kind[1]}") from error
    axes = tuple(map(int, re.findall(r"\d+", shape[1])))
    offset = len(start) + len(length) + held
    if dtype.hasobject or not dtype.itemsize or len(axes) > MAX_AXES:
        raise DamagedError(f"its header isn't that of an array of numbers: {short(text.strip())}")
    if (claimed := math.prod(axes) * dtype.itemsize) != size - offset:
        raise DamagedError(
            f"its header claims {claimed:,} bytes of numbers; it has {size - offset:,}"
        )
    return Npy(axes, dtype, "F" if order[1] == "True" else "C", offset)


def map_npy(path: Path, what: str = "a .npy file") -> NDArray[Any]:
    """The array in a `.npy` file, mapped into memory; raises as `opened` and `npy_header` do."""
    with opened(path, what) as file:
        shape, dtype, order, offset = npy_header(file, os.fstat(file.fileno()).st_size)
        if not math.prod(shape):
            return np.empty(shape, dtype)  # nothing to map
        return np.memmap(file, dtype, "r", offset, shape, order)


def check_member(member: zipfile.ZipInfo) -> None:
    """Check how a member of an archive is stored, and that its size is possible.

    Raises:
        DamagedError: If it needs a password or another method than deflate, or can't be that large.
    """
    stored, deflated = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED
    if member.flag_bits & 1:
        raise DamagedError(f"{member.filename} needs a password")
    if member.compress_type not in (stored, deflated):
        raise DamagedError(f"{member.filename} is compressed by another method than deflate")
    most = member.compress_size * (MAX_DEFLATE_RATIO if member.compress_type == deflated else 1)
    if member.file_size > most:
        raise DamagedError(f"{member.filename} claims {member.file_size:,} bytes; it has fewer")
