"""Draw the pictures of the documentation into `_static`: `python docs/figures.py`.

Nothing is drawn by hand: imports come from the sources, blocks and cones from `rgflow.Lattice`.
"""

import ast
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch, Rectangle
from matplotlib.path import Path as Path_
from numpy.typing import NDArray

import rgflow
from rgflow.lattice import Lattice, Layer

OUT = Path(__file__).parent / "_static"
INK, SOFT = "#222b36", "#8a94a3"
GREEN, YELLOW = "#8fcf9f", "#f6d365"
BLUE, RED = "#3b7dd8", "#d64545"
LEVELS = ("#9ecae1", "#4a98c9", "#1764ab", "#08306b")

plt.rcParams.update({"font.family": "DejaVu Sans", "font.size": 11, "text.color": INK})


def save(figure: plt.Figure, name: str) -> None:
    figure.savefig(OUT / f"{name}.png", dpi=160, facecolor="white", metadata={"Software": None})
    plt.close(figure)


# ------------------------------------------------------------------------------- layers of the code

ROWS = [
    {"config": -1.0, "files": 1.0},
    {
        "presets": -5.0,
        "numerics": -3.0,
        "checkpoint": -1.0,
        "lattice": 1.0,
        "priors": 3.0,
        "conditioners": 5.0,
    },
    {"latents": 1.0, "bijectors": 4.0},
    {"flow": 0.0},
    {"model": -1.2, "baselines": 1.2},
    {"architectures": 0.0, "released": -3.0},
    {"analysis": -3.0, "evaluation": 0.0, "data": 3.0},
    {"figures": -3.0},
    {"training": 0.0},
    {"cli": 0.0},
]
"""From the bottom up, as in tests/test_architecture.py; the numbers are places from the left."""
WORDS = {
    "config": "plain settings, no torch",
    "presets": "named settings",
    "checkpoint": "model ↔ folder",
    "lattice": "blocks and cones",
    "numerics": "bits per dim",
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
    "figures": "grids, stages",
    "training": "loop, run folder",
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
        for node in ast.walk(ast.parse(path.read_text())):
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
    figure, ax = plt.subplots(figsize=(10, 9.6))
    place = {name: (x, 1.5 * y) for y, row in enumerate(ROWS) for name, x in row.items()}
    half_width, half_height = 0.92, 0.42
    for y, row in enumerate(ROWS):
        tint = plt.get_cmap("YlGnBu")(0.1 + 0.048 * y)
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
                points = [(x0 - 1.35, y0), (x1, y0), (x1, y1 + half_height)]
            if (name, other) == ("data", "config"):
                points = [(x0 + half_width, y0), (6.3, y0), (6.3, y1), (x1 + 1.35, y1)]
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
    ax.set_xlim(-6.2, 6.5)
    ax.set_ylim(-0.6, 12.6)
    ax.axis("off")
    figure.subplots_adjust(0.01, 0.01, 0.99, 0.99)
    save(figure, "layers")


# ------------------------------------------------------------------------------- side view, cones

WIRE, BLOCK, STEP = 0.55, 0.62, 3.0
"""Heights: of a free piece of wire, of a block, of one level."""


def cut(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The first row of a mask all of whose rows are alike."""
    return mask[0]


def walk(
    lattice: Lattice, start: NDArray[np.bool_], upward: bool
) -> tuple[dict[tuple[int, int], NDArray[np.bool_]], NDArray[np.bool_]]:
    """Marked sites of every level's grid below its k-th layer, as a cone passes (one row of them).

    Returns:
        By (level, k), k = 0 being the level's bottom and k = 2 what leaves its last layer; and the
        mask at the end.
    """
    mask, passed = start.copy(), {}
    for level in range(lattice.levels) if upward else reversed(range(lattice.levels)):
        grid, stack = mask[:: 1 << level, :: 1 << level], lattice.layers(level)
        passed[level, 0 if upward else len(stack)] = cut(grid).copy()
        for k, layer in list(enumerate(stack))[:: 1 if upward else -1]:
            grid[...] = layer.spread(grid)
            passed[level, k + 1 if upward else k] = cut(grid).copy()
    return passed, mask


def draw_block(ax: Axes, layer: Layer, block: int, y: float, strong: bool) -> None:
    """One block of a layer; one that wraps around is drawn as two open halves."""
    scale, n = 1 << layer.level, layer.grid[1]
    first = layer.shift + block * layer.m
    pieces = [(first, first + layer.m - 1)]
    if first + layer.m > n:
        pieces = [(first, n - 1), (0, first + layer.m - 1 - n)]
    colour = GREEN if layer.kind == "disentangler" else YELLOW
    for a, b in pieces:
        left, right = a * scale - 0.4, (b + 1) * scale - 0.6
        wraps = b - a + 1 < layer.m
        if wraps and b == n - 1:
            right += 0.35
        if wraps and a == 0:
            left -= 0.35
        box = (
            Rectangle((left, y), right - left, BLOCK)
            if wraps
            else FancyBboxPatch(
                (left, y), right - left, BLOCK, boxstyle="round,pad=0,rounding_size=0.18"
            )
        )
        box.set(
            facecolor=colour,
            edgecolor=INK if strong else SOFT,
            linewidth=1.5 if strong else 0.8,
            linestyle=(0, (3, 2)) if wraps else "-",
            alpha=1.0 if strong else 0.45,
            zorder=4,
        )
        ax.add_patch(box)


def side_view(
    ax: Axes, lattice: Lattice, start: NDArray[np.bool_], upward: bool, colour: str
) -> None:
    """All wires, blocks and latents of one row of the lattice, with a cone shaded.

    A site of level h is drawn with the 2^h pixels from its own on, which is what it stands for.
    """
    passed, end = walk(lattice, start, upward)
    latents, pixels = (end, start) if upward else (start, end)
    for level in range(lattice.levels):
        scale, base = 1 << level, level * STEP
        n, stack = lattice.grid(level)[1], lattice.layers(level)
        bottoms = [base + WIRE, base + 2 * WIRE + BLOCK]
        # Shade the pieces of wire below, between and above the two layers.
        spans = [
            (base - (STEP - 2 * (WIRE + BLOCK) if level else 0.35), bottoms[0]),
            (bottoms[0], bottoms[1]),
            (bottoms[1], base + 2 * (WIRE + BLOCK) + (0.3 if level == lattice.top else 0)),
        ]
        for k, (low, high) in enumerate(spans):
            low, high = (low + BLOCK / 2 if k else low), (high + BLOCK / 2 if k < 2 else high)
            for i in np.flatnonzero(passed[level, k]):
                ax.add_patch(
                    Rectangle(
                        (i * scale - 0.5, low),
                        scale,
                        high - low,
                        facecolor=colour,
                        alpha=0.2,
                        linewidth=0,
                        zorder=1,
                    )
                )
        for layer, y in zip(stack, bottoms, strict=True):
            wide = np.tile(cut_of(passed, level, layer, upward), (layer.grid[0], 1))
            strong = layer.touched(wide)[0]
            for block in range(layer.blocks[1]):
                draw_block(ax, layer, block, y, bool(strong[block]))
        leaves = base + 2 * (WIRE + BLOCK)
        for i in range(n):
            goes_up = level < lattice.top and i % 2 == 0
            x = i * scale
            ax.plot((x, x), (base, base + STEP if goes_up else leaves), color=INK, lw=0.8, zorder=3)
            if not goes_up:
                hit = latents[0, x]
                ax.plot(
                    x,
                    leaves + 0.12,
                    "x",
                    color=RED,
                    markersize=7 if hit else 5.5,
                    markeredgewidth=2.2 if hit else 1.1,
                    alpha=1.0 if hit else 0.55,
                    zorder=6,
                )
        ax.text(
            lattice.width + 0.3,
            base + WIRE + BLOCK + WIRE / 2,
            f"level {level}",
            va="center",
            fontsize=11,
            color=INK,
        )
    for x in range(lattice.width):
        hit = pixels[0, x]
        ax.plot(
            x, 0, "o", color=BLUE, markersize=7 if hit else 5, alpha=1.0 if hit else 0.45, zorder=6
        )
    ax.set_xlim(-0.8, lattice.width + 3.4)
    ax.set_ylim(-0.6, lattice.levels * STEP)
    ax.axis("off")


def cut_of(
    passed: dict[tuple[int, int], NDArray[np.bool_]], level: int, layer: Layer, upward: bool
) -> NDArray[np.bool_]:
    """The marked sites that enter a layer, from below or from above."""
    k = 0 if layer.kind == "disentangler" else 1
    return passed[level, k if upward else k + 1]


def network() -> None:
    """One row of the network of a 32×32 image: an inference cone, and a generation cone."""
    lattice = Lattice(height=32, width=32, m=4)
    figure, axes = plt.subplots(2, 1, figsize=(11, 10.4))
    pixels = lattice.box(0, 14, 32, 2)
    side_view(axes[0], lattice, pixels, True, BLUE)
    latents = np.zeros((32, 32), dtype=bool)
    latents[::2, 14] = True  # in every row of the level-1 grid, so that all rows are alike
    side_view(axes[1], lattice, latents, False, RED)
    axes[0].set_title(
        "Inference cone of two pixels: every latent that they reach", loc="left", weight="bold"
    )
    axes[1].set_title(
        "Generation cone of a latent of level 1: every pixel that it reaches",
        loc="left",
        weight="bold",
    )
    handles = [
        Patch(facecolor=GREEN, edgecolor=INK, label="disentangler"),
        Patch(facecolor=YELLOW, edgecolor=INK, label="decimator"),
        plt.Line2D([], [], marker="x", color=RED, ls="", mew=2, ms=7, label="latent z"),
        plt.Line2D([], [], marker="o", color=BLUE, ls="", ms=7, label="pixel x"),
        Patch(facecolor=BLUE, alpha=0.25, label="inference cone"),
        Patch(facecolor=RED, alpha=0.25, label="generation cone"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=6, frameon=False, fontsize=10)
    figure.subplots_adjust(0.02, 0.05, 0.99, 0.965, hspace=0.09)
    save(figure, "network")


def cone() -> None:
    """The latents that a region of 10×10 pixels reaches, in the image layout."""
    lattice = Lattice(height=32, width=32, m=4)
    y, x, edge = 7, 11, 10
    mask = lattice.inference_cone(lattice.box(y, x, edge, edge))
    of_all = lattice.counts(np.ones_like(mask))
    figure, ax = plt.subplots(figsize=(8.6, 6.1))
    for i in range(32):
        for j in range(32):
            level = int(lattice.site_levels[i, j])
            ax.add_patch(
                Rectangle(
                    (j + 0.06, i + 0.06),
                    0.88,
                    0.88,
                    linewidth=0,
                    facecolor=LEVELS[level] if mask[i, j] else "#eceff3",
                )
            )
    ax.add_patch(Rectangle((x, y), edge, edge, fill=False, edgecolor=RED, linewidth=2.4, zorder=3))
    handles = [
        Patch(facecolor=LEVELS[h], label=f"level {h}: {n} of {of_all[h]} sites")
        for h, n in enumerate(lattice.counts(mask))
    ]
    handles += [
        Patch(facecolor="#eceff3", label="outside the cone"),
        Patch(facecolor="none", edgecolor=RED, linewidth=2, label=f"the {edge}×{edge} pixels"),
    ]
    ax.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1.02, 0.5),
        frameon=False,
        fontsize=11,
        title=f"{mask.sum()} of {mask.size} sites,\neach of C latents",
        alignment="left",
        title_fontproperties={"weight": "bold", "size": 11},
    )
    ax.set_xlim(-0.2, 32.2)
    ax.set_ylim(32.2, -0.2)
    ax.set_aspect("equal")
    ax.axis("off")
    figure.subplots_adjust(0.01, 0.02, 0.68, 0.98)
    save(figure, "cone")


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    layers()
    network()
    cone()
