"""Draw the pictures of the documentation into `_static`: `python docs/figures.py`.

Nothing is drawn by hand: imports come from the sources, blocks and cones from `rgflow.Lattice`.
"""

import ast
import importlib
import re
import textwrap
from functools import cache
from graphlib import TopologicalSorter
from io import BytesIO
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import network as views
import numpy as np
import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.patheffects import withStroke
from PIL import Image

import rgflow
from rgflow import Lattice, figures, load_flow
from rgflow.data import faces, load, msds, patches
from rgflow.figures import grid, picture, to_bytes
from rgflow.figures.charts import INK, SOFT
from rgflow.repair.particles import complete

OUT = Path(__file__).parent / "_static"
IMAGES = Path(__file__).parent / "images"
TEXTURES = (22, 10, 18, 24, 27)
"""Seeds of the textures, chosen by eye from 10 to 27: others are plainer."""

plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 11, "text.color": INK})


def save(figure: plt.Figure, name: str) -> None:
    figure.savefig(OUT / f"{name}.png", dpi=160, facecolor="white", metadata={"Software": None})
    plt.close(figure)


# ------------------------------------------------------------------------------- layers of the code


def imports() -> dict[str, set[str]]:
    """Which module or package of rgflow imports which, for types as well."""
    root = Path(rgflow.__file__).parent
    found: dict[str, set[str]] = {
        path.stem: set()
        for path in root.iterdir()
        if (path.suffix == ".py" or (path / "__init__.py").is_file()) and path.stem[:2] != "__"
    }
    for path in root.rglob("*.py"):
        here = path.relative_to(root).parts[0].removesuffix(".py")
        if here not in found:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                dotted = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            elif isinstance(node, ast.Import):
                dotted = [a.name for a in node.names]
            else:
                continue
            names = {d.split(".")[1] for d in dotted if d.startswith("rgflow.")}
            found[here] |= names & found.keys() - {here}
    return found


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that longer ways imply."""

    @cache
    def reached(name: str) -> frozenset[str]:
        return frozenset(graph[name].union(*(reached(below) for below in graph[name])))

    return {
        name: {b for b in below if not any(b in reached(c) for c in below - {b})}
        for name, below in graph.items()
    }


def arranged(graph: dict[str, set[str]]) -> dict[str, tuple[float, int]]:
    """A place for each module, (x, row): one row above all that it imports, and about below what
    imports it."""
    row: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        row[name] = max((row[below] + 1 for below in graph[name]), default=0)
    place: dict[str, tuple[float, int]] = {}
    for y in sorted(set(row.values()), reverse=True):
        above = {
            name: [place[other][0] for other in place if name in graph[other]]
            for name in row
            if row[name] == y
        }
        order = sorted(above, key=lambda name: (np.mean(above[name] or [0.0]), name))
        for k, name in enumerate(order):
            place[name] = ((k - (len(order) - 1) / 2) * min(2.6, 13 / len(order)), y)
    return place


def words(name: str) -> str:
    """The beginning of a module's docstring, in two short lines."""
    said = (importlib.import_module(f"rgflow.{name}").__doc__ or "").splitlines()[0]
    name, colon, rest = re.split(r"[;.(`{=]", said)[0].partition(": ")
    phrase = rest if colon and len(name.split()) < 3 else name
    return "\n".join(textwrap.wrap(phrase.strip(" ,"), 24, max_lines=2, placeholder=" …"))


def layers() -> None:
    """The modules, and the arrows of their imports."""
    graph = reduced(imports())
    place = arranged(graph)
    rows = 1 + max(y for _, y in place.values())
    figure, ax = plt.subplots(figsize=(12, 0.95 * rows))
    half_width, half_height = 1.0, 0.44
    for name, (x, y) in place.items():
        ax.add_patch(
            FancyBboxPatch(
                (x - half_width, 1.5 * y - half_height),
                2 * half_width,
                2 * half_height,
                boxstyle="round,pad=0,rounding_size=0.12",
                facecolor=plt.get_cmap("YlGnBu")(0.1 + 0.45 * y / rows),
                edgecolor=INK,
                linewidth=1.1,
                zorder=3,
            )
        )
        ax.text(x, 1.5 * y + 0.2, name, ha="center", va="center", weight="bold", zorder=4)
        ax.text(x, 1.5 * y - 0.16, words(name), ha="center", va="center", fontsize=6.5, zorder=4)
        for other in graph[name]:
            (x1, y1) = place[other]
            lean = max(-0.6, min(0.6, (x1 - x) * 0.16))
            ax.add_patch(
                FancyArrowPatch(
                    (x + lean, 1.5 * y - half_height),
                    (x1 - lean, 1.5 * y1 + half_height),
                    arrowstyle="-|>,head_length=5,head_width=2.6",
                    color=SOFT,
                    linewidth=1.3,
                    shrinkA=0,
                    shrinkB=0,
                    zorder=2,
                )
            )
    ax.set_xlim(-7.4, 7.4)
    ax.set_ylim(-0.8, 1.5 * rows - 0.8)
    ax.axis("off")
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99)
    save(figure, "layers")


# ------------------------------------------------------------------------------- network and cones


def network() -> None:
    """The network of a 32×32 image from the side and from above."""
    save(views.network(Lattice(height=32, width=32)), "network")


def cones() -> None:
    """The latents that a region reaches; the pixels that latents of every level reach."""
    lattice = Lattice(height=32, width=32)
    region = lattice.box(7, 11, 10, 10)
    figures.inference_cone(lattice, region).save(OUT / "cone.png", optimize=True)
    image = torch.from_numpy(next(msds.stream("msds1", 1)).images)[0]
    figures.generation_cones(lattice, image=image).save(OUT / "generation.png", optimize=True)


# ---------------------------------------------------------------------------------------- patches


def photographs() -> None:
    """The regions that `patches` are cut from, and some patches of every scale."""
    width, height, tall, space = 8.0, 5.2, 1.74, 0.06  # inches, as all places here
    figure = plt.figure(figsize=(width, height))
    font = {"fontsize": 9, "color": "white", "ha": "left"}
    edge = [withStroke(linewidth=2, foreground=INK)]

    def show(pixels: np.ndarray, left: float, below: float, tall: float) -> tuple[plt.Axes, float]:
        wide = tall * pixels.shape[1] / pixels.shape[0]
        place = (left / width, 1 - (below + tall) / height, wide / width, tall / height)
        axes = figure.add_axes(place)
        axes.imshow(pixels, aspect="auto", interpolation="antialiased")
        axes.axis("off")
        return axes, left + wide + space

    left = below = 0.0
    # No licence is stated of the motorcycle, so it isn't shown.
    for name in (name for name in patches.PHOTOGRAPHS if name != "motorcycle"):
        image = np.asarray(Image.open(BytesIO(patches.file_of(name))).convert("RGB"))
        if left + tall * image.shape[1] / image.shape[0] > width + space:
            left, below = 0.0, below + tall + space
        shown, margin = np.full_like(image, 255), image.shape[0] / 30
        axes, left = show(shown, left, below, tall)
        for split, (r,) in patches.layout(*image.shape[:2], name).items():
            part = np.s_[r.top : r.top + r.height, r.left : r.left + r.width]
            shown[part] = image[part]
            word = "val." if split == "validation" else split
            axes.text(r.left + margin, r.top + margin, word, va="top", path_effects=edge, **font)
        axes.images[0].set_data(shown)
        axes.text(margin, image.shape[0] - margin, name, va="bottom", path_effects=edge, **font)

    below += tall + 3 * space
    data = load("patches", count=400, progress=False)
    hidden = patches.PHOTOGRAPHS.index("motorcycle")
    for scale in patches.SCALES:
        figure.text(0, 1 - (below + 0.2) / height, f"scale {scale}", va="center", fontsize=10)
        left = 0.7
        chosen = (data.labels["scale"] == scale) & (data.labels["photograph"] != hidden)
        for image in data.images[chosen][:15]:
            _, left = show(image.transpose(1, 2, 0), left, below, (width - 0.7) / 15 - space)
        below += (width - 0.7) / 15
    figure.savefig(OUT / "patches.jpg", dpi=200, pil_kwargs={"quality": 85})
    plt.close(figure)


def drawn_faces() -> None:
    """The first faces, in the order in which they are drawn."""
    images = torch.from_numpy(
        faces.draw(faces.sample("faces", 24, split="train", seed=0, start=0), 96)
    )
    grid(images, columns=12, scale=1).save(OUT / "faces.jpg", quality=88, optimize=True)


def textures() -> None:
    """Samples of `photos` at 512×512: one from coarse to fine, and four more."""
    flow = load_flow("photos").resized(512, 512)

    def stages(seed: int) -> list[Image.Image]:
        with torch.no_grad():
            z = flow.draw(1, generator=torch.Generator().manual_seed(seed))
            return [picture(to_bytes(x)[0]) for x in flow.coarse(z)]

    first, *others = TEXTURES
    finest, *coarse = stages(first)
    places = ((0, 0), (256, 0), (0, 256), (256, 256))
    sheet = Image.new("RGB", (3 * 512 + 16, 512), "white")
    for (x, y), stage in zip(places, coarse[5:1:-1], strict=True):
        sheet.paste(stage.resize((254, 254), Image.Resampling.NEAREST), (x, y))
    sheet.paste(finest, (520, 0))
    for (x, y), seed in zip(places, others, strict=True):
        sheet.paste(stages(seed)[0].resize((254, 254), Image.Resampling.BOX), (1040 + x, y))
    sheet.save(IMAGES / "photos.jpg", quality=88)


def repairs() -> None:
    """A photograph that `photos` has never seen, scratched, with completions."""
    x8 = torch.tensor(patches.photograph("chelsea"))[:, 100:196, 150:246].contiguous()
    flow = load_flow("photos").resized(96, 96)
    hole = np.zeros((96, 96), bool)
    for i in range(92):
        hole[2 + i, 16 + i // 2 : 19 + i // 2] = True
        hole[60 + i // 8, 2 + i : 3 + i] = True
    damaged = x8.clone()
    damaged[:, torch.tensor(hole)] = torch.tensor([255, 0, 0], dtype=torch.uint8)[:, None]
    found = complete(
        flow, x8, hole, particles=64, sweeps=4, generator=torch.Generator().manual_seed(0)
    )
    shown = torch.stack([x8, damaged, found.image, *found.samples[[1, 3]]])
    grid(shown, 5, 3).save(IMAGES / "photos-repair.png", optimize=True)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    textures()
    repairs()
    layers()
    network()
    cones()
    photographs()
    drawn_faces()
