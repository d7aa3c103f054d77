"""What the docstrings of all public functions say: shapes, arguments, errors."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rgflow

ROOT = Path(rgflow.__file__).parent
SHAPE = re.compile(
    r"\[[^\[\]]*\]|[Aa]s (of|for) `|(same|inverse) (as|of) `|any shape|(the|same) shapes?"
    r"|element by element"
)
"""Such as [N, C, H, W], any shape, or where else shapes are said."""
MANY = 4
"""Arguments from which on each is described."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


def public(path: Path) -> Iterator[tuple[str, Function]]:
    """Public functions and methods of a module with a docstring of their own; methods that
    override may leave that to the base class."""
    for node in ast.parse(path.read_text()).body:
        inside = node.body if isinstance(node, ast.ClassDef) else [node]
        if getattr(node, "name", "_").startswith("_"):
            continue
        for one in inside:
            if isinstance(one, Function) and one.name[0] != "_" and ast.get_docstring(one):
                yield f"{node.name}.{one.name}" if one is not node else one.name, one


def arguments(node: Function) -> list[ast.arg]:
    """Without self and cls."""
    found = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return [one for one in found if one.arg not in ("self", "cls")]


def raised(node: Function) -> bool:
    """Whether the function itself raises a ValueError."""
    return any(
        isinstance(one, ast.Raise)
        and isinstance(one.exc, ast.Call)
        and ast.unparse(one.exc.func) == "ValueError"
        for one in ast.walk(node)
    )


def missing(node: Function) -> Iterator[str]:
    """What the docstring of a function lacks."""
    text = " ".join((ast.get_docstring(node) or "").split())
    given = arguments(node)
    if len(given) >= MANY and "Args:" not in text and not re.search(r"rguments (are|as)", text):
        yield f"Args: of its {len(given)} arguments"
    types = [one.annotation for one in given] + [node.returns]
    names = {ast.unparse(one) for one in types if one is not None}
    if any(re.search(r"\bTensor\b", name) for name in names) and not SHAPE.search(text):
        yield "the shapes of its tensors"
    if raised(node) and "ValueError" not in text:
        yield "the ValueError that it raises"


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_public_functions_say_shapes_arguments_and_errors(path):
    found = [f"{name} lacks {what}" for name, node in public(path) for what in missing(node)]
    assert not found, "\n".join(found)


def test_the_check_finds_what_is_missing():
    code = '''
def f(a: Tensor, b: int, c: int, d: int) -> Tensor:
    """Sum."""
    raise ValueError("Expected …")
'''
    node = ast.parse(code).body[0]
    assert len(list(missing(node))) == 3
