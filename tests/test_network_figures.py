"""Pictures of the network and of cones: what is drawn is what the lattice says."""

import numpy as np
import pytest
import torch
from PIL import ImageColor

from flows import by_day
from rgflow import Lattice, figures
from rgflow.figures import network as drawn
from rgflow.figures.charts import level_colours
from rgflow.geometries import Blocks

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


@pytest.mark.parametrize("size", [(2, 2), (8, 2), (32, 8)])
def test_narrow_lattices_are_drawn(size):
    lattice = Lattice(height=size[0], width=size[1], geometry=Blocks(m=2))
    assert drawn.network_views(lattice).width > 1000


@pytest.mark.parametrize("name", LATTICES)
def test_the_side_view_follows_the_cones(name):
    lattice = LATTICES[name]
    pixels = lattice.box(0, 2, lattice.height, 2)
    up = drawn._walk(lattice, pixels, upward=True)
    cone = lattice.inference_cone(pixels)
    for level, passed in enumerate(up):
        at = lattice.site_levels == level
        leaves = (cone & at).any(0)[:: 1 << level]
        exist = at.any(0)[:: 1 << level]
        assert np.array_equal(leaves, passed[-1] & exist)
    for level in range(lattice.levels):
        i, j = np.argwhere(lattice.site_levels == level)[-1].tolist()
        down = drawn._walk(lattice, lattice.site(level, i, j), upward=False)
        reached = lattice.generation_cone(lattice.site(level, i, j)).any(0)
        assert np.array_equal(down[0][0], reached)
        assert not any(passed[-1].any() for passed in down[level + 1 :])


@pytest.mark.parametrize("name", by_day(LATTICES, {"released-open", "m2", "not-square"}))
def test_every_lattice_is_drawn(name):
    lattice = LATTICES[name]
    for picture in (
        figures.network_views(lattice),
        figures.inference_cone(lattice, lattice.box(1, 1, 3, 3)),
        figures.generation_cones(lattice),
    ):
        assert picture.width > 1000
        assert np.asarray(picture).std() > 5


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
        figures.network_views(lattice, (1, 1, 1))
    with pytest.raises(ValueError, match="mask of shape"):
        figures.inference_cone(lattice, np.zeros((8, 8), dtype=bool))
