"""Draw the pictures of the documentation into `_static`: `python docs/figures.py`.

Nothing is drawn by hand: imports come from the sources, blocks and cones from `rgflow.Lattice`.
"""

import ast
from io import BytesIO
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Path_
from matplotlib.patheffects import withStroke
from PIL import Image

import rgflow
from rgflow import Lattice, figures, load_flow
from rgflow.data import load, msds, patches
from rgflow.figures import grid, picture, to_bytes
from rgflow.figures.charts import INK, SOFT
from rgflow.repair.particles import complete

OUT = Path(__file__).parent / "_static"
IMAGES = Path(__file__).parent / "images"
TEXTURES = (10, 13, 18, 19, 20)
"""Seeds of the textures, chosen by eye from 10 to 21: others are plainer."""

plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 11, "text.color": INK})


def save(figure: plt.Figure, name: str) -> None:
    figure.savefig(OUT / f"{name}.png", dpi=160, facecolor="white", metadata={"Software": None})
    plt.close(figure)


# ------------------------------------------------------------------------------- layers of the code

ROWS = [
    {"text": -1.2, "checks": 1.2},
    {"kinds": -1.6, "hmc": -4.4},
    {"cells": 1.6},
    {"field_theory": -4.4},
    {"actions": -4.4},
    {"objectives": -4.0},
    {"geometries": 0.6},
    {"config": -1.0, "lattice": 2.0},
    {"reading": -1.6, "files": 0.4},
    {"hub": -5.6, "tensors": -3.3, "presets": 0.6, "torch_files": 4.2},
    {"pretrained": -1.6, "numerics": 1.0, "priors": 3.6},
    {"checkpoint": -1.6, "latents": 1.0, "conditioners": 4.2},
    {"bijectors": 3.0},
    {"images": 0.0},
    {"hierarchy": 0.0},
    {"bits": -2.4, "drawing": 0.0, "storing": 2.4},
    {"flow": 0.0},
    {"model": -1.2, "baselines": 1.2},
    {"architectures": 0.6, "released": -5.0, "cones": -2.6, "metrics": 3.3},
    {"local": -2.6},
    {"analysis": -4.05, "repair": -1.35, "evaluation": 1.35, "data": 4.05},
    {"figures": -3.0, "photographs": 3.0},
    {"training": 0.0},
    {"report": -1.4, "trained": 1.4},
    {"app": 1.6},
    {"cli": 0.0},
]
"""From the bottom up, as in tests/test_architecture.py; the numbers are places from the left."""
WORDS = {
    "config": "plain settings, no torch",
    "checks": "one sentence each",
    "cells": "what a layer is",
    "kinds": "checked options",
    "objectives": "what a step minimises",
    "actions": "of lattice fields",
    "geometries": "blocks, windows, …",
    "photographs": "of any size",
    "files": "whole or not there",
    "text": "fit to be shown",
    "reading": "whole, or refused",
    "tensors": "with digests",
    "torch_files": "without pickle",
    "presets": "named settings",
    "checkpoint": "model ↔ folder",
    "pretrained": "models by name",
    "hub": "up and down",
    "lattice": "levels and cones",
    "hmc": "all chains at once",
    "field_theory": "exact values, errors",
    "numerics": "units, formats",
    "priors": "p(z)",
    "conditioners": "networks",
    "latents": "z, level by level",
    "bijectors": "invertible maps",
    "flow": "what all flows share",
    "model": "RGFlow",
    "baselines": "Real NVP",
    "released": "its .state files",
    "architectures": "config or folder → flow",
    "data": "sources, cache",
    "evaluation": "likelihood of a set",
    "local": "only what changes",
    "metrics": "PSNR, SSIM, FID",
    "analysis": "fields, meaning",
    "repair": "inpainting",
    "figures": "results → pictures",
    "training": "loop, run folder",
    "report": "all on one page",
    "trained": "run or model → flow",
    "app": "the explorer",
    "cli": "the command rgflow",
}


def imports() -> dict[str, set[str]]:
    """Which module or package of rgflow imports which."""
    root = Path(rgflow.__file__).parent
    names = {name for row in ROWS for name in row}
    found: dict[str, set[str]] = {name: set() for name in names}
    for path in root.rglob("*.py"):
        here = path.relative_to(root).parts[0].removesuffix(".py")
        if here not in names:
            continue
        code = ast.parse(path.read_text())
        for node in code.body:  # what only names types is no import
            if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
                node.body = []
        for node in ast.walk(code):
            if isinstance(node, ast.ImportFrom) and node.module:
                dotted = [node.module, *(f"{node.module}.{a.name}" for a in node.names)]
            elif isinstance(node, ast.Import):
                dotted = [a.name for a in node.names]
            else:
                continue
            found[here] |= {d.split(".")[1] for d in dotted if d.startswith("rgflow.")} & names
        found[here].discard(here)
    return found


def reduced(graph: dict[str, set[str]]) -> dict[str, set[str]]:
    """Without the arrows that longer ways imply."""

    def reached(name: str) -> set[str]:
        return graph[name].union(*(reached(below) for below in graph[name]))

    return {
        name: {b for b in below if not any(b in reached(c) for c in below - {b})}
        for name, below in graph.items()
    }


def layers() -> None:
    """The modules, and the arrows of their imports."""
    figure, ax = plt.subplots(figsize=(10, 0.98 * len(ROWS)))
    place = {name: (x, 1.5 * y) for y, row in enumerate(ROWS) for name, x in row.items()}
    half_width, half_height = 0.92, 0.42
    for y, row in enumerate(ROWS):
        tint = plt.get_cmap("YlGnBu")(0.1 + 0.45 * y / len(ROWS))
        for name, x in row.items():
            wide = 1.35 if len(row) == 1 else half_width
            ax.add_patch(
                FancyBboxPatch(
                    (x - wide, 1.5 * y - half_height),
                    2 * wide,
                    2 * half_height,
                    boxstyle="round,pad=0,rounding_size=0.12",
                    facecolor=tint,
                    edgecolor=INK,
                    linewidth=1.1,
                    zorder=3,
                )
            )
            ax.text(x, 1.5 * y + 0.13, name, ha="center", va="center", weight="bold", zorder=4)
            ax.text(x, 1.5 * y - 0.18, WORDS[name], ha="center", va="center", fontsize=8, zorder=4)
    for name, below in reduced(imports()).items():
        for other in below:
            (x0, y0), (x1, y1) = place[name], place[other]
            lean = max(-0.6, min(0.6, (x1 - x0) * 0.16))
            points = [(x0 + lean, y0 - half_height), (x1 - lean, y1 + half_height)]
            if (name, other) == ("cli", "presets"):  # around the others
                points = [(x0 - half_width, y0), (-6.1, y0), (-6.1, y1), (x1 - half_width, y1)]
            if (name, other) in (("data", "config"), ("data", "files")):
                edge, low = (6.3, y1) if other == "files" else (6.05, y1 - 0.75)
                points = [(x0 + half_width, y0 + (other == "files") * 0.2), (edge, 0)]
                points[1:] = [(edge, points[0][1]), (edge, low), (x1 + half_width, low)]
                if other == "config":
                    points[-1:] = [(x1, low), (x1, y1 - half_height)]
            codes = [Path_.MOVETO] + [Path_.LINETO] * (len(points) - 1)
            ax.add_patch(
                FancyArrowPatch(
                    path=Path_(points, codes),
                    arrowstyle="-|>,head_length=5,head_width=2.6",
                    color=SOFT,
                    linewidth=1.3,
                    joinstyle="round",
                    zorder=2,
                )
            )
    ax.set_xlim(-6.3, 6.5)
    ax.set_ylim(-0.95, 1.5 * len(ROWS) - 0.9)
    ax.axis("off")
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99)
    save(figure, "layers")


# ------------------------------------------------------------------------------- network and cones


def network() -> None:
    """The network of a 32×32 image from the side and from above."""
    picture = figures.network_views(Lattice(height=32, width=32))
    picture.save(OUT / "network.png", optimize=True)


def cones() -> None:
    """The latents that a region reaches; the pixels that latents of every level reach."""
    lattice = Lattice(height=32, width=32)
    region = lattice.box(7, 11, 10, 10)
    figures.inference_cone(lattice, region).save(OUT / "cone.png", optimize=True)
    image = torch.from_numpy(msds.generate("msds1", 1, workers=0)[0])[0]
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
