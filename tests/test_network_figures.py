"""Pictures of the network and of cones: what is drawn is what the lattice says."""

from itertools import product

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from PIL import ImageColor

from flows import by_day
from rgflow import Lattice, Windows, figures
from rgflow.figures import cones
from rgflow.figures.charts import level_colours
from rgflow.geometries import Blocks
from runs import program

network = program("docs/network.py")

LATTICES = {
    "default": Lattice(height=32, width=32),
    "open": Lattice(height=16, width=32, geometry=Blocks(boundary="open")),
    "released": Lattice(height=32, width=32, geometry=Blocks(order="released")),
    "released-open": Lattice(
        height=16, width=16, geometry=Blocks(order="released", boundary="open")
    ),
    "m8": Lattice(height=32, width=32, geometry=Blocks(m=8)),
    "m2": Lattice(height=8, width=8, geometry=Blocks(m=2)),
    "one-level": Lattice(height=8, width=8, levels=1),
    "not-square": Lattice(height=8, width=24, geometry=Blocks(m=4)),
}


@pytest.mark.parametrize("name", LATTICES)
def test_the_side_view_follows_the_cones(name):
    lattice = LATTICES[name]
    pixels = lattice.box(0, 2, lattice.height, 2)
    up = network._walk(lattice, pixels, upward=True)
    cone = lattice.inference_cone(pixels)
    for level, passed in enumerate(up):
        at = lattice.site_levels == level
        leaves = (cone & at).any(0)[:: 1 << level]
        exist = at.any(0)[:: 1 << level]
        assert np.array_equal(leaves, passed[-1] & exist)
    for level in range(lattice.levels):
        i, j = np.argwhere(lattice.site_levels == level)[-1].tolist()
        down = network._walk(lattice, lattice.site(level, i, j), upward=False)
        reached = lattice.generation_cone(lattice.site(level, i, j)).any(0)
        assert np.array_equal(down[0][0], reached)
        assert not any(passed[-1].any() for passed in down[level + 1 :])


def patches(axes, colour):
    """The patches of a colour: first and last column and row, [n, 4]."""
    found = [p.get_window_extent() for p in axes.patches if to_hex(p.get_facecolor()) == colour]
    corners = [axes.transData.inverted().transform(one.get_points()) for one in found]
    return np.array(corners).reshape(-1, 4)


NARROW = {
    f"{height}x{width}": Lattice(height=height, width=width, geometry=Blocks(m=2))
    for height, width in ((2, 2), (8, 2), (32, 8))
}
WINDOWS = Lattice(height=16, width=16, geometry=Windows(period=4, reach=3))


@pytest.mark.parametrize(
    "name", by_day([*LATTICES, *NARROW, "windows"], {"released-open", "m2", "not-square", "8x2"})
)
def test_every_cell_is_drawn(name):
    """From the side, the cells of every layer cover the columns that they write; from above, the
    last layer of level 0 covers the sites that it writes."""
    lattice = (LATTICES | NARROW | {"windows": WINDOWS})[name]
    figure = network.network(lattice)
    figure.canvas.draw()
    up, _, above = figure.axes
    heights = network._heights(lattice)
    for level in range(lattice.levels):
        for layer in lattice.layers(level):
            boxes = patches(up, network._colour(layer.name))
            middle = (boxes[:, 1] + boxes[:, 3]) / 2
            bottom = level * heights.level
            boxes = boxes[(middle > bottom) & (middle < bottom + heights.level)]
            columns = layer.table[:, : layer.written] % layer.grid[1]
            for column in np.unique(columns):
                x = column * 2**level
                assert ((boxes[:, 0] <= x) & (x <= boxes[:, 2])).any(), (level, layer.name, column)
    shown = next(line for line in above.lines if line.get_marker() == "x").get_xydata()
    rows, columns = (round(x) for x in (above.get_ylim()[0] + 0.4, above.get_xlim()[1] + 0.4))
    assert {(i, j) for j, i in shown.astype(int).tolist()} == {
        (i, j) for i, j in product(range(rows), range(columns)) if lattice.site_levels[i, j] == 0
    }
    last = lattice.layers(0)[-1]
    boxes = patches(above, network.COLOURS["decimator"])
    for site in np.unique(last.table[:, : last.written]):
        i, j = divmod(int(site), last.grid[1])
        if i < rows and j < columns:
            rows_of = np.sort(boxes[:, [1, 3]], 1)
            inside = (
                (boxes[:, 0] < j) & (j < boxes[:, 2]) & (rows_of[:, 0] < i) & (i < rows_of[:, 1])
            )
            assert inside.any(), (i, j)


@pytest.mark.parametrize("name", LATTICES)
def test_generation_cones_are_outlined(name):
    """The number of edges is that of neighbours of which one is in the cone, or the border."""
    lattice = LATTICES[name]
    place = (0, *np.argwhere(lattice.site_levels == 0)[0].tolist())
    figure = cones._cones(lattice, [place])
    cone = np.pad(lattice.generation_cone(lattice.site(*place)), 1)
    edges = (cone[1:] != cone[:-1]).sum() + (cone[:, 1:] != cone[:, :-1]).sum()
    lines = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    assert [len(one.get_segments()) for one in lines] == [edges]


def marked(picture, colour):
    """How many pixels of a picture have a colour."""
    return int((np.asarray(picture) == ImageColor.getrgb(colour)).all(2).sum())


def test_inference_cone_shows_the_sites_of_every_level():
    lattice = Lattice(height=16, width=16)
    colours = level_colours(lattice.levels)
    small, large = lattice.box(4, 4, 1, 1), lattice.box(2, 2, 9, 9)
    few, many = (figures.inference_cone(lattice, mask) for mask in (small, large))
    for level, colour in enumerate(colours):
        counts = [lattice.counts(lattice.inference_cone(mask))[level] for mask in (small, large)]
        # The square in the legend is about as large as one that is drawn on a site.
        areas = [marked(picture, colour) / marked(few, colours[0]) for picture in (few, many)]
        first = lattice.counts(lattice.inference_cone(small))[0]
        for count, area in zip(counts, areas, strict=True):
            assert (count - 1) / (first + 1) < area < (count + 1.5) / first


def test_an_image_lies_below_the_cones():
    lattice = Lattice(height=16, width=16)
    green = torch.zeros(3, 16, 16, dtype=torch.uint8)
    green[1] = 255
    without = figures.generation_cones(lattice)
    picture = figures.generation_cones(lattice, [(0, 1, 1)], green)
    light = "#99ff99"
    assert marked(without, light) == 0
    assert marked(picture, light) > 0.5 * picture.height**2


def test_bad_input():
    lattice = Lattice(height=16, width=16)
    with pytest.raises(ValueError, match="an image of 16×16 pixels"):
        figures.generation_cones(lattice, image=torch.zeros(3, 8, 8))
    with pytest.raises(ValueError, match="position of level 1"):
        figures.generation_cones(lattice, [(1, 1, 1)])
    with pytest.raises(ValueError, match="mask of shape"):
        figures.inference_cone(lattice, np.zeros((8, 8), dtype=bool))
