"""Configs: frozen dataclasses of plain values that pydantic checks, some of them of a *kind*.

A config is a class with a docstring under each field. Types say what values may be, and
`annotated_types` between which bounds::

    @config
    class Noise(Config):
        strength: Annotated[float, Ge(0)] = 0.1

Where there is a choice, a *family* of kinds is a base class, and every kind is a subclass that
gives its own name. Nothing else has to be edited, and a field of the family's type takes any kind::

    @config
    class Noise(Kind, family="noise"):
        strength: Annotated[float, Ge(0)] = 0.1

    @config
    class Salt(Noise, kind="salt"):
        share: Annotated[float, Gt(0), Lt(1)] = 0.5

    Noise.kinds                                          # {"salt": Salt}
    Noise.from_dict({"kind": "salt", "share": 0.1})      # Salt(strength=0.1, share=0.1)

A kind of somebody's own is named by its import path. It needs no more than Python's
`@dataclass(frozen=True, kw_only=True)`. A config imports nothing, as it may come from a stranger:
`trust` does, when asked to.
"""

import difflib
import importlib
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import field, fields
from functools import wraps
from typing import Annotated, Any, ClassVar, Self, TypeVar, dataclass_transform

from annotated_types import Ge, Le, Len
from pydantic import AfterValidator, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import ErrorDetails, core_schema

from rgflow.checks import (
    MAX_LEVELS,
    MAX_SIZE,
    as_python,
    check_name,
    check_type,
    short,
    unknown_name,
)

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")
Size = Annotated[int, Ge(1), Le(MAX_SIZE)]
PerLevel = Size | Annotated[tuple[Size, ...], Len(1, MAX_LEVELS)]
"""One number for all levels, or one for each, level 0 first."""


def _without_repetition(sizes: int | tuple[int, ...]) -> int | tuple[int, ...]:
    if isinstance(sizes, int):
        return sizes
    while len(sizes) > 1 and sizes[-1] == sizes[-2]:
        sizes = sizes[:-1]
    return sizes[0] if len(sizes) == 1 else sizes


FROM_LEVEL = AfterValidator(_without_repetition)
"""Of sizes per level, where the last holds for all further levels: in one form, so that equal
configs are equal."""


def sizes_in_words(sizes: int | Sequence[int]) -> str:
    """One number for all levels, or one for each, as words.

    >>> sizes_in_words((8, 4))
    '8, 4'
    """
    return ", ".join(map(str, [sizes] if isinstance(sizes, int) else sizes))


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """Values in dictionaries of dictionaries by dotted names; kinds by the name of their part.

    Example:
        >>> flat({"map": {"kind": "cube", "bins": 8}, "levels": 2})
        {'map': 'cube', 'map.bins': 8, 'levels': 2}
    """
    found = dict[str, Any]()
    for name, value in values.items():
        if isinstance(value, dict):
            within = flat(value).items()
            found |= {f"{name}.{key}".removesuffix(".kind"): one for key, one in within}
        else:
            found[name] = value
    return found


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def config(cls: C) -> C:
    """Make a class a frozen dataclass that takes keywords only and checks them.

    Lists become tuples, and numbers of NumPy Python's own.

    Raises:
        ValueError: When an instance is made of values that aren't possible, in one sentence.
    """
    made: Any = dataclass(cls, frozen=True, kw_only=True, config=_STRICT)
    check = made.__init__

    @wraps(check)
    def init(self: Any, **values: Any) -> None:
        values = _known(type(self), values)
        try:
            check(self, **{name: as_python(value) for name, value in values.items()})
        except ValidationError as error:
            raise ValueError(sentence(error)) from None

    made.__init__ = init
    return made


_STRICT = ConfigDict(strict=True, allow_inf_nan=False)


class Config:
    """A config; subclasses are made by `config`."""

    called: ClassVar[str] = "the config"
    """What sentences about mistakes call it."""

    def values(self) -> dict[str, Any]:
        """The values by name."""
        return {name: getattr(self, name) for name in options_of(type(self))}

    def to_dict(self) -> dict[str, Any]:
        """Plain values by name, those of parts as dictionaries."""
        return {
            name: value.to_dict() if isinstance(value, Config) else value
            for name, value in self.values().items()
        }

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError: If a name isn't known or a value isn't possible; it says what is.
        """
        check_type(cls.called, values, dict, "names and values")
        return cls(**_known(cls, values))

    def changed(self, changes: Any) -> Self:
        """The same with some values changed, those of parts by dictionaries of their own.

        Raises:
            ValueError: As of `from_dict`.
        """
        check_type(self.called, changes, dict, "names and values")
        return type(self)(**_known(type(self), self._merged(options_of(type(self)), changes)))

    def _merged(self, names: Iterable[str], changes: dict[str, Any]) -> dict[str, Any]:
        """The values of some names, and changes to them."""
        values = {name: x for name, x in self.values().items() if name in names}
        for name, change in changes.items():
            before = values.get(name)
            nested = isinstance(before, Config) and isinstance(change, dict | str)
            values[name] = before.changed(change) if nested else change  # type: ignore[union-attr]
        return values

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """A field of this type also takes what `to_dict` gives."""

        def given(value: Any) -> Any:
            return cls.from_dict(value) if isinstance(value, dict | str) else value

        return core_schema.no_info_before_validator_function(given, handler(source))


class Kind(Config):
    """A config of one of several kinds; the base of a family is a subclass.

    Attributes:
        family: What the family is called.
        kind: The name of the kind; of one's own, its import path.
        kinds: The kinds of the family by name.
        made: What it has the options of (`made_from`), once the module of that is imported.
    """

    family: ClassVar[str]
    kind: ClassVar[str]
    kinds: ClassVar[dict[str, type[Any]]]
    base: ClassVar[type[Any]]
    made: ClassVar[Callable[..., Any] | None] = None

    def __init_subclass__(cls, family: str | None = None, kind: str | None = None) -> None:
        super().__init_subclass__()
        if family:
            cls.family, cls.kinds, cls.base = family, {}, cls
        cls.kind = kind or f"{cls.__module__}.{cls.__qualname__}"
        cls.called = f"the {cls.family} {cls.kind}"
        if kind:
            cls.kinds[kind] = cls

    def make(self, *arguments: Any) -> Any:
        """An instance of what it has the options of. One's own kind overrides this.

        Raises:
            ValueError: If it is one's own and doesn't.
        """
        if self.made is None:
            raise ValueError(
                f"Expected {type(self).__name__} to have a method make(), as every {self.family} "
                f"of your own needs; it has none."
            )
        return self.made(*arguments, **self.options())

    def options(self) -> dict[str, Any]:
        """What `make` passes on."""
        return self.values()

    def to_dict(self) -> dict[str, Any]:
        """The kind and its options."""
        return {"kind": self.kind, **super().to_dict()}

    @classmethod
    def from_dict(cls, values: Any) -> Any:
        """From a kind and its options, or from the name of a kind alone.

        Raises:
            ValueError: If there is no such kind, or it has no such option; it says which it has.

        Example:
            >>> from rgflow.geometries import Geometry
            >>> Geometry.from_dict({"kind": "blocks", "m": 8}).m
            8
            >>> Geometry.from_dict({"kind": "blocks", "reach": 8})
            Traceback (most recent call last):
            ...
            ValueError: Expected options of the geometry blocks: m, boundary, order, \
disentanglers; got 'reach'.
        """
        options = {"kind": values} if isinstance(values, str) else values
        check_type(cls.family, options, dict, f"a dictionary with the kind of the {cls.family}")
        options = dict(options)
        kind = options.pop("kind", None)
        check_type(f"the kind of the {cls.family}", kind, str, "a name")
        if "." in kind:
            return cls.base.of_path(kind, options)
        check_name(f"the kind of the {cls.family}", kind, cls.kinds)
        return cls.kinds[kind](**options)

    @classmethod
    def of_path(cls, path: str, options: dict[str, Any]) -> Any:
        """A kind of one's own by its import path.

        Raises:
            ValueError: If it hasn't been imported, isn't of the family or has no such option.
        """
        found = imported_class(cls.family, path, cls.kinds, cls)
        return found(**_known(found, options))

    def changed(self, changes: Any) -> Any:
        """The same with some options changed. Another kind keeps those options that it has too."""
        changes = {"kind": changes} if isinstance(changes, str) else changes
        kind = changes.get("kind", self.kind)
        known = type(self) if kind == self.kind else self.kinds.get(str(kind), self.base)
        return self.base.from_dict({"kind": kind} | self._merged(options_of(known), changes))


@config
class Named:
    """A kind of one's own that is found by its import path only when it is used.

    Attributes:
        path: The import path.
        own: Its options: numbers, words, true, false, null, or lists of these.
    """

    path: str
    own: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value in self.own.items():
            for one in value if isinstance(value, list) else [value]:
                if not isinstance(one, bool | int | float | str | None):
                    raise ValueError(
                        f"Expected the option {name!s:.60} of {short(self.path)} to be a number, a "
                        f"word, true, false, null, or a list of these; got {short(one)}."
                    )

    def to_dict(self) -> dict[str, Any]:
        """The kind and its options."""
        known = self.values()  # type: ignore[attr-defined]
        path, own = known.pop("path"), known.pop("own")
        return {"kind": path, **known, **own}

    def changed(self, changes: Any) -> Any:
        """As for `Kind`."""
        changes = {"kind": changes} if isinstance(changes, str) else changes
        if changes.get("kind", self.path) == self.path:
            return self.base.from_dict(self.to_dict() | changes)  # type: ignore[attr-defined]
        return super().changed(changes)  # type: ignore[misc]


def options_of(cls: type) -> list[str]:
    """The names of the values that a config is made from."""
    return [one.name for one in fields(cls) if one.init]


def _known(cls: type[Any], values: dict[str, Any]) -> dict[str, Any]:
    """The values, if all of them have names that a class knows."""
    names, called = options_of(cls), getattr(cls, "called", cls.__name__)
    for name in values:
        if name not in names:
            close = difflib.get_close_matches(str(name)[:100], names, n=1)
            hint = f" (nearest: {close[0]})" if close else ""
            has = f"options of {called}: {', '.join(names)}"
            has = has if names else f"no options of {called}, as it has none"
            raise ValueError(f"Expected {has}; got {short(name)}{hint}.")
    return values


def made_from(kind: type[Kind]) -> Callable[[F], F]:
    """Decorator of a class, or a function, that a kind has the options of: `kind.make` calls it.
    So configs don't import what they are configs of."""

    def register(made: F) -> F:
        kind.made = staticmethod(made)
        return made

    return register


def trust(names: str | Iterable[str]) -> None:
    """Import modules with classes of your own, or classes in them, so that configs may name them:
    a config never imports anything itself, as it may come from a stranger.

    Args:
        names: `module`, or `module.Class`.

    Raises:
        ValueError: If one can't be imported.

    Example:
        >>> trust("no.such.Thing")
        Traceback (most recent call last):
        ...
        ValueError: Expected a module to trust, or a class in one; 'no.such.Thing' can't be \
imported (ModuleNotFoundError: No module named 'no').
    """
    for name in [names] if isinstance(names, str) else names:
        try:
            try:
                importlib.import_module(name)
            except ModuleNotFoundError:
                module, dot, last = name.rpartition(".")
                if not dot or not hasattr(importlib.import_module(module), last):
                    raise
        except Exception as error:  # whatever a user's module may raise
            raise ValueError(
                f"Expected a module to trust, or a class in one; {name!r} can't be imported "
                f"({type(error).__name__}: {error})."
            ) from error


def imported(path: str) -> Any:
    """What is at an import path, if its module has been imported; otherwise none."""
    module, _, name = path.rpartition(".")
    return vars(sys.modules[module]).get(name) if module in sys.modules else None


def imported_class(what: str, path: str, kinds: Iterable[str], base: type[T]) -> type[T]:
    """A class of one's own by its import path. It is never imported here.

    Args:
        what: What it is, for sentences about mistakes.
        path: The import path.
        kinds: What else there is.
        base: What it must be a subclass of.

    Raises:
        ValueError: If it hasn't been imported, or isn't a subclass of `base`.
    """
    if path.partition(".")[0] == "rgflow":  # with options that nothing bounds
        raise ValueError(
            f"Expected the {what} to be one of {', '.join(kinds)}, or a class of your own; got "
            f"{short(path)}, which is the package's."
        )
    found = imported(path)
    if found is None:
        raise ValueError(
            f"Expected the {what} to be one of {', '.join(kinds)}, or a class that has been "
            f"imported; {short(path)} would run code: if you know it, add --trust {path:.300}, or "
            f"trust={short(path)} in Python."
        )
    if not (isinstance(found, type) and issubclass(found, base)):
        raise ValueError(
            f"Expected {path!r} to be a subclass of {base.__name__}; got {short(found)}."
        )
    return found


WANTED = {
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a word",
    "tuple_type": "a list",
    "dict_type": "names and values",
    "finite_number": "a finite number",
    "greater_than_equal": "at least {ge:.9g}",
    "greater_than": "more than {gt:.9g}",
    "less_than_equal": "at most {le:.9g}",
    "less_than": "below {lt:.9g}",
    "multiple_of": "a multiple of {multiple_of}",
    "string_too_short": "a word",
    "too_short": "a list of {min_length} or more",
    "too_long": "a list of at most {max_length}",
    "dataclass_exact_type": "of the type {class_name}",
}
"""What pydantic's mistakes mean, by their types."""


def sentence(error: ValidationError) -> str:
    """The first mistake that pydantic found, in one sentence.

    Example:
        >>> from rgflow.geometries import Blocks
        >>> Blocks(boundary="perodic")
        Traceback (most recent call last):
        ...
        ValueError: Expected boundary to be one of periodic, open; got 'perodic' (nearest: \
periodic).
    """
    found = max(error.errors(include_url=False), key=_fit)
    about, given, kind = found.get("ctx", {}), found["input"], found["type"]
    if kind == "value_error":
        return str(about["error"])
    name, *within = map(str, found["loc"])
    if any(part.isdecimal() for part in within):
        name = f"every value of {name}"
    if kind == "literal_error":
        return unknown_name(name, given, re.findall("'(.*?)'", about["expected"]))
    if kind.startswith("missing"):
        return (
            f"Expected more values of {found['loc'][0]}; got {short(given) if within else 'none'}."
        )
    wanted = WANTED[kind].format(**about) if kind in WANTED else found["msg"]
    if about.get("gt") == 0:
        wanted = "positive"
    return f"Expected {name} to be {wanted}; got {short(given)}."


def _fit(mistake: ErrorDetails) -> tuple[int, bool]:
    """How much a mistake tells: of alternatives, such as a number or a list of them, that which
    came farthest, and is about what was given."""
    branch = str(mistake["loc"][-1:])
    return len(mistake["loc"]), isinstance(mistake["input"], tuple) == ("tuple[" in branch)
