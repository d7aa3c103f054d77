"""Sphinx settings; a build needs no network."""

import re
from typing import Any

import rgflow

project = "rgflow"
author = "The rgflow developers"
copyright = author
version = release = rgflow.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
exclude_patterns = ["_build"]
default_role = "code"
add_module_names = False
maximum_signature_line_length = 88
python_use_unqualified_type_names = True

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_inherit_docstrings = True
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_custom_sections = ["Returns"]  # types are in the signatures already

# Without intersphinx, as a build needs no network: names of other packages lead nowhere.
nitpick_ignore_regex = [
    # Type variables, and checks in annotations.
    (r"py:class", r"rgflow\.[\w.]+\.(Value|Any[A-Z]\w+|[A-Z]|_\w+)|PydanticUndefined|0\.01"),
    (
        r"py:.*",
        r"(torch|nn|fastapi|gradio|contextlib|contextvars|threading|np|numpy|PIL|rich|collections|pathlib|typing|types|abc|io|zipfile"
        r"|annotated_types|pydantic|pydantic_core|accelerate)\..*",
    ),
    (
        r"py:.*",
        r"(Tensor|NDArray|ArrayLike|Array|rgflow\.kinds\.Kind|rgflow\.config\.Map|Path|Image\.Image|Callable|Iterable|Iterator|Sequence|Module|Any"
        r"|Self|Literal|Protocol|NamedTuple|UserWarning|ValueError|FileNotFoundError|Exception"
        r"|AbstractContextManager|dtype|device|Generator|ndarray|Axes|Split|StyleType|JustifyMethod|Highlighter|Column|optional|callable|rgflow\.reading\.T)",
    ),
]

html_theme = "furo"
html_title = "rgflow"
html_static_path = ["_static"]
html_show_sphinx = False
html_copy_source = False
html_theme_options = {"navigation_with_keys": True}


def escape(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Keep |x| and x_(k+1) in docstrings from being read as reStructuredText."""
    literal = False
    for k, line in enumerate(lines):
        literal = line.lstrip().startswith(">>>") or (literal and bool(line.strip()))
        if literal or (line.lstrip().startswith((".. ", ":")) and line.endswith(":")):
            continue
        parts = re.split(r"(`+[^`]*`+)", line)
        for i in range(0, len(parts), 2):
            parts[i] = re.sub(r"\|", r"\\|", parts[i])
            parts[i] = re.sub(r"(?<=\w)_(?=[^\w]|$)", r"\\_", parts[i])
        lines[k] = "".join(parts)


_whole: dict[str, list[str]] = {}


def keep(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """Remember what is said about an attribute, which napoleon takes for `type: description`."""
    if what in ("attribute", "data", "property"):
        _whole[name] = list(lines)


def restore(app: Any, what: str, name: str, obj: object, options: Any, lines: list[str]) -> None:
    """What `keep` has kept; and no line such as `C.` that would start a list."""
    if name in _whole:
        lines[:] = _whole.pop(name)
    lines[:] = [re.sub(r"^( *)([A-Z])\.$", r"\1\\\2.", line) for line in lines]


def factories(app: Any, what: str, name: str, obj: object, options: Any, *signature: Any) -> Any:
    """Defaults of dataclasses as Python, without which Sphinx can't read the signature."""
    arguments, returned = signature
    return (arguments and arguments.replace("<factory>", "..."), returned)


def setup(app: Any) -> None:
    for priority, step in ((300, escape), (400, keep), (600, restore)):
        app.connect("autodoc-process-docstring", step, priority=priority)
    app.connect("autodoc-process-signature", factories)
