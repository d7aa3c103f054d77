"""Imports point downward only, and the reference describes every module."""

import ast
import importlib
import inspect
import re
import subprocess
import sys
from graphlib import TopologicalSorter
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
    ["kinds"],
    ["cells"],
    ["field_theory"],
    ["actions"],
    ["objectives"],
    ["geometries"],
    ["config", "lattice"],
    ["files", "reading"],
    ["tensors", "presets", "numerics", "outputs", "processes"],
    ["cards"],
    ["priors", "pretrained", "checkpoint"],
    ["conditioners", "latents"],
    ["bijectors"],
    ["images"],
    ["hierarchy"],
    ["flow"],
    ["model", "baselines"],
    ["architectures", "cones", "metrics"],
    ["local"],
    ["data", "evaluation", "analysis", "repair"],
    ["figures", "photographs"],
    ["training"],
    ["report", "trained"],
    ["app"],
    ["cli"],
]
"""From the bottom up: a module imports from lower rows, or from its own place; imports for types
alone and within functions count like all others."""

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


MODULES = {
    ".".join(path.relative_to(top.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path, top in SOURCES.items()
}
"""Every module by its name."""


def imported(path: Path) -> set[str]:
    """The modules that one imports anywhere in its code, for types alone as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names if names <= MODULES.keys() else {*names, str(node.module)}
    return found & MODULES.keys()


GRAPH = {name: imported(path) - {name} for name, path in MODULES.items()}


def place(module: str) -> str:
    return module.split(".")[1]


@pytest.mark.parametrize("module", [name for name in GRAPH if name.startswith("rgflow.")])
def test_imports_point_downward(module):
    here = place(module)
    if here == "__main__":
        return
    for other in GRAPH[module] - {"rgflow"}:
        if place(other) != here:
            assert RANK[place(other)] < RANK[here], f"{module} imports {other}"


def test_every_place_has_a_row():
    places = {place(name) for name in MODULES if name.startswith("rgflow.")} - {"__main__"}
    assert places == RANK.keys()


def test_no_modules_import_one_another_in_a_circle():
    TopologicalSorter(GRAPH).prepare()  # which raises CycleError, with the circle


READERS = {
    r"torch\.load\(": ("tensors.py",),
    r"yaml\.(safe_)?load\(|yaml\.parse\(": ("reading.py",),
    r"json\.loads?\(": ("reading.py", "files.py"),
    r"np\.load\(|open_memmap|np\.memmap": ("reading.py",),
    r"pickle\.loads?\(": (),
    r"(?m)^(?!\s*>>>).*Image\.open\(": (),
    r"Image\.OPEN": ("data/opening.py",),
    r"import_module\(": ("cli/__init__.py", "kinds.py"),
    r"resolve_name\(": (),
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


WRITERS = {
    # The null device; arrays of a cache, which has a folder of its own until it is whole; lines
    # that are added to records and logs; what is drawn so far.
    r"(?<!\bpart\.)open\(.*[\"'](?=[rbt]*[wax+])[rwaxbt+]{1,3}[\"']": (
        "cli/__init__.py", "cli/score.py", "data/cache.py", "outputs.py",
        "photographs/enlarging.py", "training/log.py",
    ),
    r"(?<!\bpart)\.write_(text|bytes)\(": (),
    r"\.savefig\((?!part|buffer)": (),
    # Into a part that is open, and into memory.
    r"\b(np|torch)\.save\(": ("cli/sample.py", "metrics/frechet.py"),
    r"\bsave_file\((?!\w+, part)": (),
    r"\.save\((?!\s*part|content|file|buffer)[^)]*(format=|kind|PNG|JPEG|GIF|TIFF)": (),
    r"write_table\((?!.*part\))|to_csv|imsave|imwrite|h5py": (),
    r"copyfile\((?!.*part)|copytree|shutil\.move|os\.symlink": (),
    # Folders of the page and of the cache, and a part.
    r"os\.(replace|rename|link)\(|\.rename\(": (
        "app/scratch.py", "app/sessions.py", "data/cache.py", "files.py",
    ),
}  # fmt: skip
"""Calls that write files, other than into the `part` of `rgflow.files.replacing` or into memory,
and the modules that may."""


@pytest.mark.parametrize("call", WRITERS)
def test_files_are_written_in_one_place(call):
    found = {
        str(path.relative_to(ROOT))
        for path, top in SOURCES.items()
        if top == ROOT and re.search(call, path.read_text())
    }
    assert found == set(WRITERS[call])


def test_config_imports_no_torch():
    for path in (*ROOT.glob("config/*.py"), ROOT / "presets.py", ROOT / "lattice.py"):
        assert "torch" not in path.read_text().replace("no torch", "")


def test_the_package_imports_nothing_of_the_experiments():
    for name, others in GRAPH.items():
        if not name.startswith("reproducing"):
            assert not {other for other in others if other.startswith("reproducing")}, name


def test_every_public_name_has_a_docstring():
    for name in MODULES.keys() - {"rgflow.__main__"}:
        module = importlib.import_module(name)
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


DIRECTIVE = r"\.\. auto(module|function|class|data):: (rgflow[\w.]*)"


def test_the_reference_describes_every_module():
    """But commands and the parts of the page, which have pages for their users."""
    pages = ROOT.parents[1] / "docs" / "api"
    if not pages.is_dir():
        pytest.skip("installed without its sources")
    described = set()
    for page in pages.glob("*.md"):
        for kind, name in re.findall(DIRECTIVE, page.read_text()):
            owner, _, last = name.rpartition(".")
            found = importlib.import_module(name if kind == "module" else owner)
            if kind != "module":
                found = getattr(found, last)
            described.add(name if kind == "module" else getattr(found, "__module__", owner))
    wanted = {
        name
        for name, path in MODULES.items()
        if name.startswith("rgflow.")
        and place(name) not in ("__main__", "app", "cli")
        and path.name != "__init__.py"
    }
    assert wanted <= described, wanted - described


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
