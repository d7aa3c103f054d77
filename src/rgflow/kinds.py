"""Tagged values: `{"kind": NAME, …}` is a dataclass by the name of its kind, with its options.

A registry of kinds is a dictionary of names and frozen dataclasses. Classes of one's own are named
by their import path. Nothing is ever imported here: `rgflow.bijectors.trust` does, when asked to.
An option may itself be of a kind: its field is `part(...)`.
"""

import difflib
import sys
from collections.abc import Callable, Mapping
from dataclasses import field, fields
from typing import Any, NamedTuple, TypeVar

from rgflow.checks import check_type, short, unknown_name

Kind = TypeVar("Kind")


def tagged(value: object, kinds: Mapping[str, type]) -> dict[str, Any]:
    """A dataclass as its kind and its options.

    Args:
        value: The dataclass.
        kinds: The registry; of a class that isn't in it, the import path is the kind.
    """
    cls = type(value)
    path = f"{cls.__module__}.{cls.__qualname__}"
    name = next((name for name, known in kinds.items() if known is cls), path)
    options = {one.name: getattr(value, one.name) for one in fields(cls) if one.init}  # type: ignore[arg-type]
    for name_of_part, of in parts(cls).items():
        if options[name_of_part] is not None:
            options[name_of_part] = of.to_dict(options[name_of_part])
    return {"kind": name, **options}


class Part(NamedTuple):
    """An option that is itself of a kind: how it becomes a tagged value, and comes back."""

    to_dict: Callable[[Any], dict[str, Any]]
    from_dict: Callable[[object], Any]


def part(of: Part, **options: Any) -> Any:
    """The field of such an option, to be written where `dataclasses.field` is."""
    return field(metadata={"part": of}, **options)


def parts(cls: type) -> dict[str, Part]:
    """The options of a class that are themselves of a kind."""
    found = fields(cls)
    return {one.name: one.metadata["part"] for one in found if "part" in one.metadata}


def from_tagged(
    what: str, values: object, kinds: Mapping[str, type[Kind]], base: type[Kind]
) -> Kind:
    """The inverse of `tagged`.

    Args:
        what: What it is, for errors.
        values: Its kind and its options, a dictionary; or a dataclass, which is checked.
        kinds: The registry.
        base: Whose subclass it has to be.

    Raises:
        ValueError: If there is no such kind, or it has no such option; it names those it has.

    Example:
        >>> from rgflow.cells import Geometry
        >>> from rgflow.geometries import GEOMETRIES
        >>> from_tagged("geometry", {"kind": "blocks", "m": 8}, GEOMETRIES, Geometry).m
        8
        >>> from_tagged("geometry", {"kind": "blocks", "reach": 8}, GEOMETRIES, Geometry)
        Traceback (most recent call last):
        ...
        ValueError: Expected options of the geometry blocks: m, boundary, order, disentanglers; \
got 'reach'.
    """
    if isinstance(values, base):
        return values
    check_type(what, values, dict, f"a dictionary with the kind of the {what}")
    assert isinstance(values, dict)
    kind = values.get("kind")
    check_type(f"the {what}'s kind", kind, str, "a name")
    assert isinstance(kind, str)
    cls = own_class(what, kind, kinds, base) if "." in kind else kinds.get(kind)
    if cls is None:
        raise ValueError(unknown_name(f"the {what}'s kind", kind, kinds))
    known = [one.name for one in fields(cls) if one.init]  # type: ignore[arg-type]
    options = {name: value for name, value in values.items() if name != "kind"}
    for name in options:
        if name not in known:
            close = difflib.get_close_matches(str(name)[:100], known, n=1)
            hint = f" (nearest: {close[0]})" if close else ""
            has = f"options of the {what} {kind}: {', '.join(known)}"
            if not known:
                has = f"no options of the {what} {kind}, as it has none"
            raise ValueError(f"Expected {has}; got {short(name)}{hint}.")
    for name, of in parts(cls).items():
        if options.get(name) is not None:
            options[name] = of.from_dict(options[name])
    return cls(**options)


def merged(before: Any, changes: Any, kinds: Mapping[str, type] | None = None) -> Any:
    """A tagged value with changes. Where the kind changes, options stay that the new one has, if
    its registry is given, and otherwise none.

    Example:
        >>> merged({"kind": "a", "x": 1, "of": {"kind": "b", "y": 2}}, {"of": {"y": 3}})
        {'kind': 'a', 'x': 1, 'of': {'kind': 'b', 'y': 3}}
    """
    if isinstance(changes, str):
        changes = {"kind": changes}
    if not isinstance(before, dict) or not isinstance(changes, dict):
        return changes
    kind = changes.get("kind", before.get("kind"))
    if kind != before.get("kind"):
        cls = (kinds or {}).get(kind) if isinstance(kind, str) else None
        known = [one.name for one in fields(cls)] if cls else []
        before = {"kind": kind} | {name: x for name, x in before.items() if name in known}
    nested = {
        name: merged(before.get(name), x) if isinstance(x, dict) else x
        for name, x in changes.items()
    }
    return before | nested


def own_class(what: str, path: str, kinds: Mapping[str, type], base: type[Kind]) -> type[Kind]:
    """A class that isn't the package's, by its import path, which must have been imported.

    Raises:
        ValueError: If it hasn't been, or isn't a subclass of `base`.
    """
    module, _, name = path.rpartition(".")
    if module.partition(".")[0] == "rgflow":  # with options that nothing bounds
        raise ValueError(
            f"Expected the {what} to be one of {', '.join(kinds)}, or a class of your own; got "
            f"{short(path)}, which is the package's."
        )
    found = vars(sys.modules[module]).get(name) if module in sys.modules else None
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


def made_by(kind: object, signature: str, *arguments: object) -> Any:
    """What a kind of somebody's own makes by its method `make`.

    Raises:
        ValueError: If it has none.
    """
    make = getattr(kind, "make", None)
    if make is None:
        raise ValueError(
            f"Expected {type(kind).__name__} to have a method {signature}, as kinds of your own "
            f"need; it has none."
        )
    return make(*arguments)
