"""The code in the documentation runs and gives what the pages show."""

import contextlib
import doctest
import io
import json
import re
import shlex
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from rgflow.analysis import factors
from rgflow.cli import main
from rgflow.config import ConvolutionalMap
from rgflow.data.patches import photograph
from rgflow.geometries import Windows
from rgflow.kinds import sizes_in_words
from rgflow.presets import PRESETS
from rgflow.report import sections
from visitors import free_port

DOCS = Path(__file__).parents[1] / "docs"
PAGES = [
    "../README.md",
    "start.md",
    "extending.md",
    "guide/flow.md",
    "guide/bijectors.md",
    "guide/data.md",
    "guide/training.md",
    "guide/models.md",
    "guide/evaluating.md",
    "guide/explorer.md",
    "guide/fields-and-cones.md",
    "guide/report.md",
    "guide/traversing-and-mixing.md",
    "guide/meaning.md",
    "guide/photographs.md",
    "guide/many.md",
    "guide/repair.md",
    "guide/reproducing.md",
    "guide/lattice.md",
]
UNCOUNTED = ("api/",)
"""Folders with pages of any length."""
LONGEST, MOST = 1200, 25_000
"""Words of a page, and of all of them."""
SMALL = ["--steps", "1", "--train_count", "50", "--validate_count", "5", "--batch_size", "5"]
SMALL += ["--compile", "false"]

pytestmark = pytest.mark.skipif(not DOCS.is_dir(), reason="installed without its sources")


@dataclass
class Block:
    language: str
    caption: str
    text: str
    line: int


def blocks(page):
    """The fenced blocks of a page; `{code-block} language` with a caption is a file."""
    text = (DOCS / page).read_text()
    fence = r"^```(?:\{code-block\} )?(\w+)\n(?::caption: (\S+)\n\n)?(.*?)^```$"
    return [
        Block(m[1], m[2] or "", m[3], text[: m.start(3)].count("\n"))
        for m in re.finditer(fence, text, re.DOTALL | re.MULTILINE)
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a run as the pages speak of, but small and hardly trained."""
    folder = tmp_path_factory.mktemp("docs")
    small = ["--model.map.hidden", "8", "--model.map.depth", "1", *SMALL]
    assert main(["train", "msds1-fast", *small, "--out", str(folder / "runs/first")]) == 0
    return folder


@pytest.fixture
def place(folder, tmp_path, monkeypatch):
    """An empty current folder, from which modules can be imported, with that run in it."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/first").symlink_to(folder / "runs/first", target_is_directory=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if not name.startswith(("rgflow", "torch")) and (tmp_path / f"{name}.py").exists():
            del sys.modules[name]


BY_DAY = ("../README.md", "start.md", "extending.md", "guide/flow.md", "guide/photographs.md")
"""Pages whose code is run by day."""


def by_day(cases):
    """Cases that begin with a page; those of other pages are run at night."""
    for page, *rest in cases:
        marks = () if page in BY_DAY else pytest.mark.slow
        yield pytest.param(page, *rest, marks=marks)


@pytest.mark.parametrize("page", by_day([page] for page in PAGES))
def test_python(page, place):
    names: dict[str, object] = {"__name__": "page"}
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said = io.StringIO()
    for block in blocks(page):
        if block.caption:
            (place / block.caption).write_text(block.text)
        elif block.language == "python" and block.text.startswith(">>>"):
            examples = doctest.DocTestParser().get_doctest(
                block.text, names, page, str(DOCS / page), block.line
            )
            runner.run(examples, out=said.write, clear_globs=False)
            names = examples.globs
        elif block.language == "python":
            exec(compile(block.text, str(DOCS / page), "exec"), names)
    assert not runner.summarize(verbose=False).failed, said.getvalue()


def commands(page):
    lines = (line for b in blocks(page) if b.language == "sh" for line in b.text.splitlines())
    return [line for line in lines if re.match(r"(python -m )?rgflow ", line)]


def different_commands():
    """Every command once, on the first page that has it; numbers of draws, and budgets of runs that
    go on, make no other."""
    first = {}
    for page in PAGES:
        for line in commands(page):
            if "s3://" in line:  # in test_engines.py
                continue
            words = shlex.split(line, comments=True)
            for option in ("--draws", "--minutes" if "--resume" in words else ""):
                if option in words:
                    place = words.index(option)
                    del words[place : place + 2]
            first.setdefault(tuple(words), (page, line))
    return list(first.values())


@pytest.mark.parametrize(("page", "line"), by_day(different_commands()))
def test_commands(page, line, place, monkeypatch):
    for name in ("probe_levels", "disentanglement"):
        monkeypatch.setattr(factors, name, partial(getattr(factors, name), trees=2))
    for block in blocks(page):
        if block.caption:
            (place / block.caption).write_text(block.text)
    arguments = shlex.split(line.removeprefix("python -m "), comments=True)[1:]
    tiny = ["--model.map.hidden", "4", "--steps", "1", "--batch_size", "4"]
    tiny += ["--validate_count", "100"]
    for preset, run, edge in (("ising-32", "runs/ising", 8), ("phi4-32", "runs/grow-16", 16)):
        if run in arguments and arguments[arguments.index(run) - 1] != "--out":
            size = ["--model.height", f"{edge}", "--model.width", f"{edge}"]
            assert main(["train", preset, *tiny, *size, "--out", run]) == 0
    if "--resume" in arguments:  # for one step more
        folder = arguments[arguments.index("--resume") + 1]
        steps = json.loads((place / folder / "run.json").read_text())["result"]["steps"]
        assert main(["train", "--resume", folder, "--steps", str(steps + 1)]) == 0
    elif "runs/grow-32" in arguments:
        assert main([*arguments, *tiny]) == 0
    elif arguments[0] == "train":  # checked, but not trained
        if "--print_config" not in arguments:
            arguments.append("--print_config")
        with contextlib.redirect_stdout(io.StringIO()):
            assert main(arguments) == 0
    elif arguments[0] in ("evaluate", "ship"):
        assert main([*arguments, "--count", "10"]) == 0
    elif arguments[0] in ("fields", "traverse") and not {"--draws", "photos-averages"} & {
        *arguments
    }:
        assert main([*arguments, "--draws", "1"]) == 0
    elif arguments[0] in ("repair", "score", "enlarge") or {"photos", "photos-averages"} & {
        *arguments[:2]
    }:
        (place / "pictures").mkdir()
        pixels = photograph("chelsea", 4)[:, :40, :60].transpose(1, 2, 0).copy()
        pixels[10:12, 5:50] = 255
        for name in [*arguments, "pictures/a.png"]:
            if name.endswith((".png", ".jpg")):
                Image.fromarray(pixels if "mask" not in name else pixels // 255 * 255).save(name)
            elif name.endswith(".tif"):  # with infrared
                film = np.dstack((pixels, np.where(pixels.min(2) == 255, 20, 200)))
                tifffile.imwrite(name, film.astype(np.uint8), extrasamples=["unspecified"])
        if arguments[0] == "sample":
            arguments += ["-n", "2"]
        few = ["--sweeps", "1"] if arguments[0] == "repair" else []
        assert main([*arguments, *few]) == 0
    elif arguments[0] == "measure":
        assert main([*arguments, "--samples", "100", "--reference", "200"]) == 0
    elif arguments[0] == "distances":
        assert main([*arguments, "--count", "20"]) == 0
    elif arguments[0] == "factors":
        assert main([*arguments, "--count", "60", "--draws", "1", "--places", "1"]) == 0
    elif arguments[0] == "inpaint":
        small = ["--particles", "20"]
        if "msds1-best" not in arguments:  # the run of this test has none of the maps for particles
            small = ["--particles", "0", "--draws", "4", "--steps", "4"]
        assert main([*arguments, *small]) == 0
    elif arguments[0] == "reproduce":  # listed, but not done
        folder = ["--experiments", str(DOCS.parent / "experiments"), "--dry_run"]
        assert main([*arguments, *folder]) == 0
    elif arguments[0] == "report":  # its first sections, as test_report.py has them all
        first = {subject: some[:2] for subject, some in sections.SECTIONS.items()}
        monkeypatch.setattr(sections, "SECTIONS", first)
        assert main([*arguments, "--count", "100", "--draws", "1", "--places", "1"]) == 0
    elif arguments[0] == "app":  # everything but to wait for visitors, and what is done meanwhile
        served = []
        monkeypatch.setattr("rgflow.app.models.OpenModel.prepare", lambda model: None)
        monkeypatch.setattr("uvicorn.Server.run", lambda server: served.append(server.config.port))
        assert main([*arguments, "--port", str(free_port())]) == 0
        assert len(served) == 1
    else:
        assert main([*arguments, *(["-n", "2"] if arguments[0] == "sample" else [])]) == 0


def test_every_preset_is_in_the_table():
    text = (DOCS / "api/presets.md").read_text()
    for name, config in PRESETS.items():
        model, map_ = config.model, config.model.map
        row = [f"`{name}`", config.data]
        if isinstance(map_, ConvolutionalMap):
            row += [" ", " ", "affine", "Real NVP", sizes_in_words(map_.hidden)]
        else:
            networks, geometry = getattr(map_, "conditioner", None), model.geometry
            if isinstance(geometry, Windows):
                networks = f"{geometry.least_layers} per level"
                cells = f"windows of {2 * geometry.reaches[0] + 1}"
            else:
                cells = sizes_in_words(geometry.m)
            if networks is None:
                networks = f"{model.channels * 4**map_.splits}, one per group"
            kind = model.to_dict()["map"]["kind"]
            row += [cells, sizes_in_words(map_.depth), kind, networks]
            row += [sizes_in_words(map_.hidden)]
        assert f"| {' | '.join(map(str, row))} |".replace("|   |   |", "| | |") in text


def every_page():
    """All pages, and the README; `_build` holds none of ours."""
    found = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    return ["../README.md", *sorted(page for page in found if not page.startswith("_build"))]


def test_every_page_is_tested():
    with_code = {page for page in every_page() if "```python" in (DOCS / page).read_text()}
    with_code |= {
        page
        for page in every_page()
        if not page.startswith((*UNCOUNTED, "results/")) and commands(page)
    }
    assert with_code <= set(PAGES)


def words(text):
    """Words, numbers and names; not the bars of tables."""
    return len(re.findall(r"\S*\w\S*", text))


def test_pages_are_short():
    counts = {
        page: words((DOCS / page).read_text())
        for page in every_page()
        if not page.startswith(UNCOUNTED)
    }
    assert {page: count for page, count in counts.items() if count > LONGEST} == {}
    assert sum(counts.values()) <= MOST
    assert len((DOCS.parent / "README.md").read_text().splitlines()) <= 120


def slug(heading):
    """The anchor of a heading, as GitHub and MyST make it."""
    plain = re.sub(r"[`*]|\{\w+\}|\]\([^)]*\)|\[", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def anchors(path):
    """What links to a page may name after a #."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {slug(heading) for heading in headings} | set(re.findall(r"^\((.+)\)=$", text, re.M))


@pytest.mark.parametrize("page", every_page())
def test_links_lead_somewhere(page):
    """On GitHub as in Sphinx: files and headings; pages of the web aren't asked."""
    path = DOCS / page
    text = re.sub(r"^```(?!\{figure\}).*?^```$", "", path.read_text(), flags=re.DOTALL | re.M)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r"^```\{figure\} (\S+)", text, re.M)
    for link in links:
        file, _, anchor = link.partition("#")
        if "://" in file:
            continue
        there = (path.parent / file).resolve() if file else path
        assert there.exists(), link
        assert not anchor or anchor in anchors(there), link


def test_every_picture_of_the_gallery_has_its_command():
    """A picture, and below it, or below those that follow it, a paragraph with a command."""
    text = (DOCS / "gallery.md").read_text()
    parts = [part for part in re.split(r"\n\n+|\n(?=#)", text) if part and not part.startswith("#")]
    waiting = 0
    for part in parts[1:]:
        if part.startswith("!["):
            waiting += 1
        elif waiting:
            assert re.search(r"`(rgflow|python) [^`]+`", part), part
            waiting = 0
    assert not waiting
