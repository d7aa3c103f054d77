"""Checks of the values that people give, with one sentence for each mistake."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any, Literal

Boundary = Literal["periodic", "open"]
Option = bool | int | float | str | None
"""What options of classes of one's own may be, alone or in lists."""

MAX_SIZE = 1 << 16
"""Heights, widths and depths at the most: whatever is larger is a slip of the keyboard."""
MAX_LEVELS = 32
"""Levels at the most; MAX_SIZE allows 16."""
MAX_BLOCKS = 1 << 11
"""Residual blocks in networks side by side at the most: depth times blocks, of all levels; the
largest of the paper has 80."""
MAX_BINS = 256
"""Bins of a spline at the most: every one keeps a smallest share of the interval."""


def short(value: object) -> str:
    """A value as Python writes it, cut to a moderate length.

    >>> short("as it is"), len(short([0] * 1000))
    ("'as it is'", 300)
    """
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:299]}…"


def unknown_name(what: str, name: object, known: Iterable[str], likely: Sequence[str] = ()) -> str:
    """The sentence for a name that isn't one of `known`: it says which is nearest."""
    known = list(known)
    close = likely or difflib.get_close_matches(str(name)[:100].lower(), known, n=1, cutoff=0.4)
    hint = f" (nearest: {close[0]})" if close else ""
    return f"Expected {what} to be one of {', '.join(known)}; got {short(name)}{hint}."


def check_name(what: str, name: object, known: Iterable[str]) -> None:
    """Raise a `ValueError` that names the nearest known name unless `name` is one of `known`.

    >>> check_name("prior", "laplce", ["laplace", "gaussian"])
    Traceback (most recent call last):
    ...
    ValueError: Expected prior to be one of laplace, gaussian; got 'laplce' (nearest: laplace).
    """
    known = list(known)
    if name not in known:
        raise ValueError(unknown_name(what, name, known))


def own(value: Any) -> Any:
    """A scalar of NumPy, or a tensor of one number, as Python's own, alone or in a list; whatever
    else as it is.

    >>> import numpy as np
    >>> own(np.int64(5)), own((np.float32(0.5), 2)), own("as it is")
    (5, (0.5, 2), 'as it is')
    """
    if isinstance(value, list | tuple):
        return [own(one) for one in value] if isinstance(value, list) else tuple(map(own, value))
    return value.item() if getattr(value, "ndim", None) == 0 else value


def own_fields(instance: Any) -> None:
    """Make what `own` does of every field of a frozen dataclass, as JSON takes nothing else."""
    for one in fields(instance):
        object.__setattr__(instance, one.name, own(getattr(instance, one.name)))


def check_at_least(what: str, value: object, least: float) -> None:
    """Raise a `ValueError` unless `value` is a finite number of at least `least`."""
    value = own(value)
    if isinstance(value, bool) or not (isinstance(value, int | float) and value >= least):
        raise ValueError(f"Expected {what} to be at least {least}; got {short(value)}.")
    if value == float("inf"):
        raise ValueError(f"Expected {what} to be finite; got {value}.")


def check_whole(what: str, value: object, least: int, most: int = 2**63 - 1) -> int:
    """`value` as Python's own; raise a `ValueError` unless it is a whole number from `least` to
    `most`."""
    value = own(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"Expected {what} to be a whole number; got {short(value)}.")
    check_at_least(what, value, least)
    if value > most:
        raise ValueError(f"Expected {what} to be at most {most}; got {short(value)}.")
    return value


def per_level(what: str, value: Any, levels: int) -> list[float]:
    """One number for all levels, or one for each, as one for each; otherwise a `ValueError`.

    >>> per_level("temperature", 0.5, 2), per_level("temperature", [0.5, 1], 2)
    ([0.5, 0.5], [0.5, 1.0])
    """
    value = own(value)
    if isinstance(value, int | float):
        return [float(value)] * levels
    numbers = own(list(value)) if isinstance(value, Iterable) else []
    if not all(isinstance(number, int | float) for number in numbers) or not numbers:
        raise ValueError(
            f"Expected {what} to be a number, or one for each level; got {short(value)}."
        )
    if len(numbers) != levels:
        raise ValueError(
            f"Expected one {what}, or one for each of the {levels} levels; got {len(numbers)}."
        )
    return list(map(float, numbers))


def check_type(what: str, value: object, kind: type | tuple[type, ...], description: str) -> None:
    """Raise a `ValueError` unless `value` is of this type."""
    if not isinstance(value, kind):
        raise ValueError(f"Expected {what} to be {description}; got {short(value)}.")


def check_per_level(what: str, value: object, least: int, most: int) -> tuple[int, ...]:
    """A whole number, or one per level, as a tuple; raise a `ValueError` unless all are from
    `least` to `most`.

    >>> check_per_level("m", 4, 1, 8), check_per_level("m", [8, 4], 1, 8)
    ((4,), (8, 4))
    """
    values = own(value)
    if not isinstance(values, list | tuple):
        return (check_whole(what, values, least, most),)
    if not 0 < len(values) <= MAX_LEVELS:
        raise ValueError(
            f"Expected {what} to be a number, or one per level; got {len(values) or 'none'}."
        )
    return tuple(check_whole(what, one, least, most) for one in values)


def check_offsets(what: str, value: object) -> tuple[tuple[int, int], ...]:
    """Pairs of whole numbers as tuples; raise a `ValueError` unless they are some.

    >>> check_offsets("shifts", [[0, 1], [1, 0]])
    ((0, 1), (1, 0))
    """
    pairs = own(value)
    if not isinstance(pairs, list | tuple) or not 0 < len(pairs) <= MAX_SIZE:
        raise ValueError(f"Expected {what} to be pairs of row and column; got {short(value)}.")
    for pair in pairs:
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise ValueError(f"Expected {what} to be pairs of row and column; got {short(pair)}.")
        for number in pair:
            check_whole(f"a number in {what}", number, -MAX_SIZE, MAX_SIZE)
    return tuple((y, x) for y, x in pairs)
