"""Checks of the values that people give, with one sentence for each mistake."""

import difflib
import math
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from typing import Any

MAX_SIZE = 1 << 16
"""Maximum height, width and depth: anything larger is a typing mistake."""
MAX_LEVELS = 32
"""Maximum number of levels; MAX_SIZE allows 16."""
MAX_BLOCKS = 1 << 11
"""Maximum number of residual blocks, depth times blocks of all levels; the paper's largest flow has
80."""
MAX_BINS = 256
"""Maximum number of spline bins; each has a minimum width, so more would not fit."""
MAX_STATES = 64
"""Maximum number of states of a spin."""

NO_MEMORY = ("out of memory", "can't allocate memory")
"""PyTorch's messages when memory runs out."""


def out_of_memory(error: Exception) -> bool:
    """Whether an error of Python or PyTorch says that memory ran out."""
    return isinstance(error, MemoryError) or any(text in str(error) for text in NO_MEMORY)


def short(value: object) -> str:
    """A value as Python writes it, cut to a moderate length.

    >>> short("as it is"), len(short([0] * 1000))
    ("'as it is'", 300)
    """
    text = repr(value)
    return text if len(text) <= 300 else f"{text[:299]}…"


def unknown_name(what: str, name: object, known: Iterable[str], likely: Sequence[str] = ()) -> str:
    """The sentence for an unknown name; it suggests the nearest known one.

    Args:
        what: What the name is of.
        name: The name.
        known: The known names.
        likely: The one that is meant, if that is known better than by its letters.
    """
    known = list(known)
    close = likely or difflib.get_close_matches(str(name)[:100].lower(), known, n=1, cutoff=0.4)
    hint = f" (nearest: {close[0]})" if close else ""
    return f"Expected {what} to be one of {', '.join(known)}; got {short(name)}{hint}."


def check_name(what: str, name: object, known: Iterable[str]) -> None:
    """Check that a name is one of those that are known.

    Raises:
        ValueError: If it isn't; it names the nearest.

    Example:
        >>> check_name("prior", "laplce", ["laplace", "gaussian"])
        Traceback (most recent call last):
        ...
        ValueError: Expected prior to be one of laplace, gaussian; got 'laplce' (nearest: laplace).
    """
    known = list(known)
    if name not in known:
        raise ValueError(unknown_name(what, name, known))


def as_python(value: Any) -> Any:
    """Convert scalars of NumPy and tensors of one number to Python's, and lists to tuples; return
    anything else unchanged.

    >>> import numpy as np
    >>> as_python(np.int64(5)), as_python([np.float32(0.5), 2]), as_python("as it is")
    (5, (0.5, 2), 'as it is')
    """
    if isinstance(value, list | tuple):
        return tuple(map(as_python, value))
    return value.item() if getattr(value, "ndim", None) == 0 else value


def check_at_least(what: str, value: object, least: float, most: float = math.inf) -> None:
    """Check that a value is a finite number of at least `least`, and at most `most`.

    Args:
        what: What it is, for the sentence about a mistake.
        value: The number.
        least: The smallest that is allowed.
        most: The largest that is allowed.

    Raises:
        ValueError: If it isn't.
    """
    value = as_python(value)
    if isinstance(value, bool) or not (isinstance(value, int | float) and value >= least):
        raise ValueError(f"Expected {what} to be at least {least}; got {short(value)}.")
    if value == math.inf:
        raise ValueError(f"Expected {what} to be finite; got {value}.")
    if value > most:
        raise ValueError(f"Expected {what} to be at most {most}; got {value}.")


def check_whole(what: str, value: object, least: int, most: int = 2**63 - 1) -> int:
    """Check a whole number; returns it as an `int`.

    Args:
        what: What it is, for the sentence about a mistake.
        value: The number.
        least: The smallest that is allowed.
        most: The largest that is allowed.

    Raises:
        ValueError: If it isn't a whole number of this range.
    """
    value = as_python(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"Expected {what} to be a whole number; got {short(value)}.")
    check_at_least(what, value, least)
    if value > most:
        raise ValueError(f"Expected {what} to be at most {most}; got {short(value)}.")
    return value


def per_level(what: str, value: Any, levels: int) -> list[float]:
    """Repeat one number for all levels; a number for each level is kept.

    Raises:
        ValueError: If it is neither.

    Example:
        >>> per_level("temperature", 0.5, 2), per_level("temperature", [0.5, 1], 2)
        ([0.5, 0.5], [0.5, 1.0])
    """
    value = as_python(value)
    if isinstance(value, int | float):
        return [float(value)] * levels
    numbers = as_python(list(value)) if isinstance(value, Iterable) else []
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
    """Check that a value is of a type.

    Args:
        what: What it is, for the sentence about a mistake.
        value: The value.
        kind: The type, or several.
        description: The type in words.

    Raises:
        ValueError: If it isn't.
    """
    if not isinstance(value, kind):
        raise ValueError(f"Expected {what} to be {description}; got {short(value)}.")


def check_installed(
    package: str, why: str, extra: str, error: type[Exception] = ValueError, other: str = ""
) -> None:
    """Check that a package is installed which not everybody needs.

    Args:
        package: Its name.
        why: What needs it.
        extra: The extra of rgflow that has it.
        error: What is raised otherwise.
        other: What else can be done.

    Raises:
        ValueError: If it isn't, or another `error`.
    """
    if find_spec(package.replace("-", "_")) is None:
        raise error(
            f"Expected the package {package}, {why}; it isn't installed: run pip install "
            f"'rgflow[{extra}]'{other}."
        )
