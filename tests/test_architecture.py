"""Imports point downward only, and the reference names every module."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import rgflow

ROOT = Path(rgflow.__file__).parent
REPRODUCING = ROOT.parents[1] / "experiments" / "reproducing"
"""What `rgflow reproduce` runs; above the package, and no part of it."""
SOURCES = {path: top for top in (ROOT, REPRODUCING) for path in sorted(top.rglob("*.py"))}
"""Every module, and which of these it is in."""

LAYERS = [
    ["checks", "text"],
    ["kinds", "hmc"],
    ["cells"],
    ["field_theory"],
    ["actions"],
    ["objectives"],
    ["geometries"],
    ["config", "lattice"],
    ["files", "reading"],
    ["tensors", "torch_files", "presets", "hub"],
    ["priors", "numerics", "pretrained"],
    ["conditioners", "latents", "checkpoint"],
    ["bijectors"],
    ["images"],
    ["hierarchy"],
    ["bits", "drawing", "storing"],
    ["flow"],
    ["model", "baselines"],
    ["architectures", "released", "cones", "metrics"],
    ["local"],
    ["data", "evaluation", "analysis", "repair"],
    ["figures", "photographs"],
    ["training"],
    ["report", "trained"],
    ["app"],
    ["cli"],
]
"""From the bottom up: a module imports from lower rows, or from its own place."""

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def place(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported(path: Path) -> set[str]:
    found = set()
    code = ast.parse(path.read_text())
    for node in code.body:  # what only names types is no import
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    for node in ast.walk(code):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
        found |= {n.split(".")[1] for n in names if n.startswith("rgflow.")}
    return {name for name in found if (ROOT / name).is_dir() or (ROOT / f"{name}.py").is_file()}


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downward(path):
    here = place(path)
    if here in ("__init__", "__main__"):
        return
    for name in imported(path) - {here}:
        assert RANK[name] < RANK[here], f"{here} imports {name}"


READERS = {
    r"torch\.load\(": (),
    r"yaml\.(safe_)?load\(|yaml\.parse\(": ("reading.py",),
    r"json\.loads?\(": ("reading.py", "files.py"),
    r"np\.load\(|open_memmap|np\.memmap": ("reading.py",),
    r"pickle\.loads?\(": (),
    # Of pictures that were just drawn.
    r"Image\.open\((?!.*(formats=|buffer|BytesIO))": ("figures/animations.py", "report/page.py"),
    r"import_module\(": ("cli/__init__.py", "bijectors/__init__.py"),
}
"""Calls that read files or run what they name, and the modules that may."""


@pytest.mark.parametrize("call", READERS)
def test_files_are_read_in_one_place(call):
    found = {
        str(path.relative_to(top))
        for path, top in SOURCES.items()
        if re.search(call, path.read_text())
    }
    assert found == set(READERS[call])


def test_config_imports_no_torch():
    for path in (*ROOT.glob("config/*.py"), ROOT / "presets.py", ROOT / "lattice.py"):
        assert "torch" not in path.read_text().replace("no torch", "")


def test_the_picture_shows_every_place():
    code = (ROOT.parents[1] / "docs" / "figures.py").read_text()
    rows = next(
        ast.literal_eval(node.value)
        for node in ast.parse(code).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROWS"
    )
    assert [sorted(row) for row in rows] == [sorted(row) for row in LAYERS]


def test_only_one_command_knows_what_reproduces():
    call = r"(import|from) reproducing"
    found = [path for path in ROOT.rglob("*.py") if re.search(call, path.read_text())]
    assert found == [ROOT / "cli" / "reproduce.py"]


def test_every_public_name_has_a_docstring():
    for path, top in SOURCES.items():
        name = ".".join(path.relative_to(top.parent).with_suffix("").parts)
        module = importlib.import_module(name.removesuffix(".__init__"))
        if name.endswith("__main__"):
            continue
        for owner, members in [(module, vars(module)), *_classes(module)]:
            for member, value in members.items():
                public = not member.startswith("_") and callable(value)
                ours = getattr(value, "__module__", "").startswith(("rgflow", "reproducing"))
                if public and ours:
                    assert inspect.getdoc(getattr(owner, member)), f"{name}: {owner} {member}"


def _classes(module):
    return [
        (value, vars(value))
        for value in vars(module).values()
        if inspect.isclass(value)
        and value.__module__ == module.__name__
        and value.__name__[0] != "_"
    ]


def test_the_reference_names_every_module():
    page = ROOT.parents[1] / "docs" / "api" / "index.md"
    if not page.is_file():
        pytest.skip("installed without its sources")
    text = page.read_text()
    for path in SOURCES:
        if not path.name.startswith("__"):
            assert path.stem in text, path.stem


CORE = """
import sys
from rgflow import AffineMap, FlowConfig, Latents, Lattice, RGFlow

flow = RGFlow(FlowConfig(height=8, width=8, map=AffineMap(depth=1, hidden=8)))
flow.save_pretrained(sys.argv[1])
RGFlow.from_pretrained(sys.argv[1]).sample(1)
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_the_core_needs_torch_numpy_safetensors_yaml_and_pydantic_only(tmp_path):
    def loaded(code):
        command = [sys.executable, "-c", code, str(tmp_path / "model")]
        return set(
            subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
        )

    alone = "import sys, torch, numpy, yaml, safetensors.torch, lazy_loader, pydantic.dataclasses; "
    alone += "print(*{name.partition('.')[0] for name in sys.modules})"
    names = loaded(CORE) - loaded(alone) - set(sys.stdlib_module_names)
    assert {name for name in names if not name.startswith("_")} == {"rgflow"}
